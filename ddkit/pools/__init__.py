"""Pools of trained networks: tasks, training, what is cached, named or imported."""

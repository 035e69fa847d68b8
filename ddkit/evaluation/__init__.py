"""How well networks train on a set: protocols, training, accuracy, units of some seeds."""

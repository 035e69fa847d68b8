"""The engine: objectives, leaves, shards, steps; memory budgets; what a shard leaves in a file."""

"""Batches on the device: resident, or streamed to it."""

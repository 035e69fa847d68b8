"""Distilled sets of other tools: read without trust, written in their own layouts."""

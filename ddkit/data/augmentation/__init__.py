"""Crops, flips, DSA, and views that are drawn once and seen again."""

"""Distilled sets: images with their labels, as files and as tools of other authors have them."""

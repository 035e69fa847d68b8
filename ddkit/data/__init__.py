"""Data: names to splits, input spaces, the loader, augmentation."""

"""The methods by their names, with what their released code does when nothing else is said."""

from ddkit import Alias

DC = Alias(
    method="matching",
    options={"match": "gradient", "augmentation": "none", "lr_images": 0.1},
    init="noise",
)
DSA = Alias(
    method="matching",
    options={"match": "gradient", "augmentation": "dsa", "lr_images": 0.1},
)
DM = Alias(
    method="matching",
    options={"match": "distribution", "augmentation": "dsa", "lr_images": 1.0},
)

"""The methods by their names, with what their released code does when nothing else is said."""

from ddkit import Alias

DC = Alias(
    method="matching",
    options={"match": "gradient", "augmentation": "none", "lr_images": 0.1},
    init="noise",
    summary="dataset condensation: gradients of real and synthetic images are matched",
)
DSA = Alias(
    method="matching",
    options={"match": "gradient", "augmentation": "dsa", "lr_images": 0.1},
    summary="DC with differentiable siamese augmentation",
)
DM = Alias(
    method="matching",
    options={"match": "distribution", "augmentation": "dsa", "lr_images": 1.0},
    summary="mean features in random networks are matched: no network is trained",
)

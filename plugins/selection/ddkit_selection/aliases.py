"""The rules by their names: what people type."""

from ddkit import Alias

HERDING = Alias(
    method="selection",
    options={"rule": "herding"},
)
K_CENTER = Alias(
    method="selection",
    options={"rule": "k-center"},
)
RDED = Alias(
    method="selection",
    options={
        "rule": "rded",
        "labels": "epoch",
        "train_augmentation": "crop-flip",  # the teachers of its tables are networks as usual
        "train_lr": 0.1,
        "train_schedule": "cosine",
    },
)

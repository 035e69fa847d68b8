"""MTT (Cazenavette et al., CVPR 2022) is TESLA with hard labels; its gradient was always exact.

FTD (Du et al., CVPR 2023) is MTT with flat experts and averaged images, DATM (Guo et al., ICLR
2024) matches later parts of longer flat trajectories for larger sets, and learns the labels.
"""

from ddkit import Alias

MTT = Alias(
    method="tesla",
    options={"gradient": "exact", "labels": "hard", "iterations": 5000},
)

FTD = Alias(
    method="tesla",
    options={
        **MTT.options,
        "train_sharpness": 0.01,  # the authors' issue #3; the released code's default is 2
        "train_surrogate": 1.0,  # most rows of the paper's table 7
        "average": 0.999,
    },
)

DATM = Alias(
    method="tesla",
    options={
        "gradient": "exact",
        "labels": "learned",
        "iterations": 10_000,
        "train_epochs": 100,
        "train_sharpness": 0.01,
        "train_surrogate": 0.3,
        "skip_above": 1.0,
        "momentum_labels": 0.9,
        "label_start": "experts",
        "choose": "correct",
    },
)

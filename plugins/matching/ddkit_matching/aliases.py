"""The methods by their names, with what their released code does when nothing else is said.

Rates of IDM, IDC and NCFM are translated: their code steps class by class, ddkit once for all.
"""

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
IDM = Alias(
    method="matching",
    options={
        "match": "distribution",
        "networks": "queue",
        "augmentation": "dsa",
        "class_weight": 0.5,
        "lr_images": 0.4,
        "momentum": 0.0,
        "momentum_network": 0.9,
        "decay_network": 5e-4,
    },
    factor=2,
)
NCFM = Alias(
    method="matching",
    options={
        "match": "characteristic",
        "networks": "pairs",
        "augmentation": "color-crop-cutout",
        "calibration": 1.0,
        "batch_real": 1024,
        "optimiser": "adamw",
        "lr_images": 0.018,
        "clip": True,
    },
    factor=2,
)
IDC = Alias(
    method="matching",
    options={
        "match": "gradient",
        "distance": "mse",
        "augmentation": "color-crop-cutout",
        "updates": 200_000,
        "outer_loop": 100,
        "train_on": "real",
        "batch_real": 64,
        "batch_syn": 128,
        "batch_network": 64,
        "momentum_network": 0.9,
        "decay_network": 5e-4,
        "network_augmentation": "color-crop",
        "network_cutmix": 0.5,
        "lr_images": 0.16,
        "momentum": 0.0,
        "clip": True,
    },
    factor=2,
)

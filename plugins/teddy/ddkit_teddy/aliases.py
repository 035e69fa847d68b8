"""SRe²L (Yin et al., NeurIPS 2023) is Teddy with a pool of one converged model.

FADRM (Cui et al., NeurIPS 2025) begins with RDED's images and mixes them in again between phases.
"""

from ddkit import Alias

SRE2L = Alias(
    method="teddy",
    options={
        "first": 50,
        "last": 50,
        "every": 1,
        "train_schedule": "cosine",
        "teachers": 1,
        "variance": "biased",
        "first_bn": 10.0,
        "bn_weight": 0.01,
        "lr": 0.25,
        "iterations": 1000,
        "image_decay": 0.0,
        "augmentation": "rrc-flip",
    },
    init="noise",
)
FADRM = Alias(
    method="teddy",
    options={
        **SRE2L.options,
        "iterations": 2000,
        "draw": "turn",
        "choose": "patches",
        "phases": 4,
        "residual": 0.5,
        "jitter": 1,  # presets have as many as their images bear
    },
)

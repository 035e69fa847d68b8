"""SRe²L (Yin et al., NeurIPS 2023) and what followed it: Teddy with converged models.

SRe²L++ and CV-DD (Cui et al., 2025) begin with RDED's images; FADRM (Cui et al., NeurIPS 2025)
mixes them in again between phases.
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
SRE2LPP = Alias(
    method="teddy",
    options={
        **SRE2L.options,
        "iterations": 4000,
        "choose": "patches",
        "jitter": 1,  # presets have as many as their images bear
        "label_statistics": "batch",
    },
    init="real",
)
CVDD = Alias(
    method="teddy",
    options={
        **SRE2LPP.options,
        "pool": "committee",
        "networks": [
            "resnet18",
            "resnet50",
            "shufflenet_v2:width=0.5",
            "mobilenet_v2",
            "densenet121",
        ],
        "teachers": 2,
        "draw": "index",
        "weights": "holdout",
    },
    init="real",
)
FADRM = Alias(
    method="teddy",
    options={
        **SRE2LPP.options,
        "iterations": 2000,
        "draw": "turn",
        "phases": 4,
        "residual": 0.5,
    },
    init="real",
)
FADRM_PLUS = Alias(
    method="teddy",
    options={
        **FADRM.options,
        "pool": "committee",
        "networks": ["resnet18", "densenet121", "shufflenet_v2:width=0.5", "mobilenet_v2"],
    },
    init="real",
)

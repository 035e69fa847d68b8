"""The methods by their names, with what their released code does when nothing else is said."""

from ddkit import Alias

FREPO = Alias(
    method="regression",
    options={
        "kernel": "features",
        "loss": "squares",
        "margin": 1.0,
        "scale_targets": True,
        "ridge": 1e-6,
        "flip": True,
        "optimiser": "lamb",
        "schedule": "cosine",
        "updates": 500_000,
        "lr_images": 3e-4,
        "lr_targets": 3e-4,
        "networks": 10,
        "oldest": 100,
        "network_steps": 1,
        "lr_network": 3e-4,
    },
)

KIP = Alias(
    method="regression",
    options={
        "kernel": "tangent-fc",
        "loss": "squares",
        "ridge": 1e-6,
        "balanced": True,
        "batch_real": 5000,
        "optimiser": "adam",
        "updates": 300,
        "lr_images": 0.04,
        "lr_targets": 0.04,
    },
)

RFAD = Alias(
    method="regression",
    options={
        "kernel": "random",
        "loss": "cross-entropy",
        "ridge": 5e-3,
        "batch_real": 5120,  # four batches of 1280
        "optimiser": "adabelief",
        "updates": 100_000,
        "lr_images": 1e-3,
        "lr_targets": 1e-3,
        "lr_temperature": 1e-2,
        "networks": 8,
    },
)

RCIG = Alias(
    method="regression",
    options={
        "kernel": "body",
        "inner": "steps",
        "softplus": True,
        "loss": "cross-entropy",
        "margin": 0.5,
        "ridge": 5e-4,
        "flip": True,
        "optimiser": "adabelief",
        "updates": 10_000,
        "lr_images": 3e-3,
        "lr_targets": 3e-3,
        "lr_temperature": 3e-2,
        "average": 0.99,
        "networks": 30,
        "oldest": 99,
        "network_steps": 15,
        "lr_network": 5e-5,
    },
)

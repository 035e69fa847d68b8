"""How a network is trained: epochs, batch size, optimiser, learning rate and its schedule."""

from collections.abc import Iterable
from math import cos, pi
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from ddkit.runtime.settings import Strict

SCHEDULE = r"^(constant|cosine|half|step:[1-9]\d*|exponential:[\d.e+-]+)$"


class Recipe(Strict):
    """How a network is trained. `schedule` is the factor on the learning rate over training:

    constant; cosine (to 0, per step); half (×0.1 from the middle on); step:N (×0.1 every N epochs);
    exponential:F (geometrically to F).
    """

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(256, ge=1)
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: str = Field("half", pattern=SCHEDULE)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimiser for a network's parameters, one kernel a step on CUDA."""
        parameters = list(parameters)
        fused = all(parameter.is_cuda for parameter in parameters) or None
        if self.optimiser == "sgd":
            return torch.optim.SGD(
                parameters,
                lr=self.lr,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                fused=fused,
            )
        kind = torch.optim.AdamW if self.optimiser == "adamw" else torch.optim.Adam
        return kind(
            parameters,
            lr=self.lr,
            betas=(self.momentum, 0.999),
            weight_decay=self.weight_decay,
            fused=fused,
        )

    def factor(self, epoch: float) -> float:
        """Return the factor on the learning rate at `epoch` (0 … epochs, with its fraction)."""
        if self.schedule == "cosine":
            return 0.5 * (1 + cos(pi * epoch / self.epochs))
        if self.schedule == "half":
            return 0.1 if epoch >= self.epochs / 2 else 1.0
        if self.schedule.startswith("step:"):
            return float(0.1 ** (int(epoch) // int(self.schedule.removeprefix("step:"))))
        if self.schedule.startswith("exponential:"):
            return float(float(self.schedule.removeprefix("exponential:")) ** (epoch / self.epochs))
        return 1.0

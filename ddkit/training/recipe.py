"""How a network is trained: epochs, batch size, optimiser, learning rate and its schedule."""

from collections.abc import Iterable
from math import ceil, cos, pi
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from ddkit.runtime.settings import Growing, Strict

SCHEDULE = (
    r"^(constant|cosine|cosine:[1-9]\d*|half|step:[1-9]\d*|exponential:[\d.e+-]+"
    r"|drop:0?\.\d+(:[1-9]\d*/[1-9]\d*)+)$"
)


class Recipe(Strict, Growing):
    """How a network is trained. `schedule` is the factor on the learning rate over training:

    constant; cosine (to `floor`, per step); cosine:N (the first of N equal parts of a cosine); half
    (×0.1 from the middle on); step:N (×0.1 every N epochs); exponential:F (geometrically to F);
    drop:F:a/b:c/d (×F at each of these parts of the epochs, rounded down).

    Attributes:
        warmup: steps in which the rate rises from 0, at most half of all; cosine begins after them.
        floor: the factor that cosine ends with.
        steps: (images, steps) in place of `epochs`: those of the largest number of images that a
            set has; the first where it has fewer.
        cutmix: the probability that a batch is mixed by CutMix, by whoever serves it.
        cooling: factor on the temperature of soft labels at each tenth of the epochs, down to 2.
        calibrated: whether a student has a temperature of its own, as its last batch would have it.
        sharpness: ρ of a step towards flat minima, which takes two passes (`sharpness.py`); 0 takes
            none.
        surrogate: α, by how much such a step lowers the gap between the loss and its maximum
            nearby.
    """

    later: ClassVar[frozenset[str]] = frozenset(
        {
            "warmup",
            "floor",
            "steps",
            "cutmix",
            "sharpness",
            "surrogate",
            "cooling",
            "calibrated",
        }
    )

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(256, ge=1)
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: str = Field("half", pattern=SCHEDULE)
    warmup: int = Field(0, ge=0)
    floor: float = Field(0.0, ge=0, le=1)
    steps: tuple[tuple[int, int], ...] = ()
    cutmix: float = Field(0.0, ge=0, le=1)
    sharpness: float = Field(0.0, ge=0)
    surrogate: float = Field(0.0, ge=0)
    cooling: float = Field(1.0, gt=0, le=1)
    calibrated: bool = False

    def for_set(self, images: int, steps_per_epoch: int) -> "Recipe":
        """Return the recipe with whole epochs of at least the `steps` for so many images."""
        if not self.steps:
            return self
        fitting = [steps for least, steps in self.steps if least <= images]
        steps = fitting[-1] if fitting else self.steps[0][1]
        return self.model_copy(update={"epochs": ceil(steps / steps_per_epoch), "steps": ()})

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

    def factor(self, epoch: float, steps_per_epoch: int = 1) -> float:
        """Return the factor on the learning rate at `epoch` (0 … epochs, with its fraction)."""
        warm = min(self.warmup / steps_per_epoch, self.epochs / 2)
        if epoch < warm:
            return epoch / warm
        if self.schedule.startswith("cosine"):
            length = int(self.schedule.partition(":")[2] or 1)
            wave = 0.5 * (1 + cos(pi * (epoch - warm) / (self.epochs - warm) / length))
            return self.floor + (1 - self.floor) * wave
        if self.schedule == "half":
            return 0.1 if epoch >= self.epochs / 2 else 1.0
        if self.schedule.startswith("step:"):
            return float(0.1 ** (int(epoch) // int(self.schedule.removeprefix("step:"))))
        if self.schedule.startswith("exponential:"):
            return float(float(self.schedule.removeprefix("exponential:")) ** (epoch / self.epochs))
        if self.schedule.startswith("drop:"):
            _, factor, *parts = self.schedule.split(":")
            times = (map(int, part.split("/")) for part in parts)
            past = sum(epoch >= self.epochs * over // under for over, under in times)
            return float(float(factor) ** past)
        return 1.0

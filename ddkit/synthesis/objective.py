"""What a method optimises: its leaves, its loss, and how leaves become images.

The hook `synthesis_loss` returns an `Objective` once; the engine (engine.py) then calls this plain
object in its inner loop.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, inf, pi
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ddkit.runtime.arithmetic import Arithmetic, Precision
from ddkit.runtime.errors import DdkitError

if TYPE_CHECKING:
    from ddkit.run import Run

DECODED = 1024  # images at a time that become pixels on the device
OptimiserFactory = Callable[[list[Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Shard:
    """A part of the synthetic set that is distilled on its own, and may be on another machine.

    Attributes:
        index: its number.
        slots: int64 (n,), which images of the whole set it holds. The set is class-major: slot s
            is image s % ipc of class s // ipc.
        classes: int64 (n,), the class of each.
    """

    index: int
    slots: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.slots)


@dataclass(frozen=True)
class Synthetic:
    """Finished images in data space, before they are labelled.

    Attributes:
        images: (n, channels, height, width) float32, nominally 0 … 1, or uint8 0 … 255.
        classes: int64 (n,).
        learning_rate: the student's, where the method learned one (β of TESLA).
        label_logits: (n, classes) float32, where the method learned labels.
    """

    images: Tensor
    classes: Tensor
    learning_rate: float | None = None
    label_logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.classes)


@dataclass
class Leaf:
    """A tensor that is optimised, with all that its update needs.

    Attributes:
        value: the initial value. Rows are images where the objective draws rows of it.
        optimiser: builds the optimiser of this leaf alone.
        schedule: the factor on the learning rate at a fraction 0 ≤ t < 1 of all steps.
        constraint: changes the value in place after each step, such as clipping to valid pixels.
        limit: a magnitude that no value reaches unless it runs away; the run is then stopped.
    """

    value: Tensor
    optimiser: OptimiserFactory
    schedule: Callable[[float], float] | None = None
    constraint: Callable[[Tensor], None] | None = None
    limit: float = inf


class Objective(ABC):
    """A method's side of the synthesis. `ImageObjective` below gives the common case."""

    steps: int = 0
    """Optimiser steps per shard. Zero is legal: the initial leaves are the result."""

    advice: str = "lower the learning rate"
    """What to do when the loss is not finite any more, for the error message."""

    bears: Sequence[Precision] = ("fp32", "tf32")
    """The precisions that the steps are known to bear; a CUDA device measures which is fastest."""

    def __init__(self, run: "Run"):
        self.run = run

    def compute_with(self, arithmetic: Arithmetic) -> None:  # noqa: B027 - most have nothing to do
        """Prepare for steps in this arithmetic: the engine casts, a method lays out in memory.

        A method that has this is measured in both memory layouts, others keep to one.
        """

    @property
    def lays_out(self) -> bool:
        """Whether the method has `compute_with`."""
        return type(self).compute_with is not Objective.compute_with

    def shards(self) -> Sequence[Shard]:
        """Return the parts of the set, each slot in one of them.

        Default: the groups that the run asks for, of all classes and some image indices each.
        """
        return group_shards(self.run, self.run.config.groups)

    @abstractmethod
    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        """Return the named leaves of a shard."""

    def draw(self, shard: Shard, step: int) -> Mapping[str, Tensor]:
        """Return the rows (int64) of each leaf that a step works on; a leaf not named is whole.

        Only these rows are on the device during the step, and only they and their optimiser state
        change. Must follow from shard and step alone (use `run.generator`).
        """
        return {}

    @abstractmethod
    def loss(self, shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        """Return the 0-dim loss of a step, from the leaves (or the rows that `draw` named)."""

    @abstractmethod
    def decode(self, shard: Shard, leaves: Mapping[str, Tensor]) -> Synthetic:
        """Return the shard's images in data space, row i for slot i of the shard."""

    def pixels(self, inputs: Tensor) -> Tensor:
        """Return network inputs (n, channels, H, W) as pixels on the CPU, part by part."""
        space, device = self.run.space, self.run.device
        parts = torch.split(inputs.detach(), DECODED)
        return torch.cat([space.decode(part.to(device)).cpu() for part in parts])

    def state_dict(self) -> dict[str, Tensor]:
        """Return what lives across the steps of a shard beside its leaves, for checkpoints.

        `initialise` must start it anew: shards know nothing of each other. Default: nothing.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - optional
        """Put back what `state_dict` returned."""


class ImageObjective(Objective):
    """The common case: pixels in network space, one optimiser, clipped to the valid range.

    A subclass gives `loss` and, where the defaults don't fit, the attributes below.
    """

    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "cosine"] = "constant"
    clip: bool = True
    """Whether pixels are kept in the valid range; ZCA has none, so there it is left out."""

    def optimiser(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas)

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        images = self.run.initial_inputs(shard)
        constraint = None
        if self.clip and self.run.space.kind != "zca":
            low, high = self.run.space.valid_range()  # on the device, as the images will be

            def constraint(value: Tensor) -> None:
                torch.clamp(value, low, high, out=value)

        return {"images": Leaf(images, self.optimiser, SCHEDULES[self.schedule], constraint)}

    def decode(self, shard: Shard, leaves: Mapping[str, Tensor]) -> Synthetic:
        return Synthetic(self.pixels(leaves["images"]), shard.classes)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "cosine": lambda t: 0.5 * (1 + cos(pi * t)),
}


def group_shards(run: "Run", groups: int) -> list[Shard]:
    """Split the set into groups of image indices, equal up to one index, with all classes in each.

    `groups` is at most the images per class.
    """
    slots = torch.arange(run.total).view(len(run.classes), run.ipc)
    parts = torch.tensor_split(slots, groups, dim=1)
    return [run.shard(index, part.flatten()) for index, part in enumerate(parts)]


def class_balanced_shards(run: "Run", batch_size: int) -> list[Shard]:
    """Split the set into class-balanced parts of about `batch_size` images.

    With few classes a part holds several image indices of all classes together; with more classes
    than `batch_size`, a slice of the classes at one image index, all slices alike.
    """
    if batch_size < 1:
        raise DdkitError(f"option 'batch_size' must be 1 or more (got {batch_size})")
    classes = len(run.classes)
    slots = torch.arange(run.total).view(classes, run.ipc)
    together = max(1, batch_size // classes)
    slices = -(-classes // batch_size)  # of equal size: a last one of few images has no statistics
    parts = [
        block.flatten()
        for columns in torch.split(slots, together, dim=1)
        for block in torch.tensor_split(columns, slices, dim=0)
    ]
    return [run.shard(index, part) for index, part in enumerate(parts)]

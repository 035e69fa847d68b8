"""What a method optimises: its leaves, its loss, and how leaves become images.

The hook `synthesis_loss` returns an `Objective` once; the engine (engine.py) then calls this plain
object in its inner loop.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import cos, pi
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ddkit.runtime.arithmetic import Arithmetic, Precision
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.initial import initial_inputs
from ddkit.synthesis.leaves import Leaf
from ddkit.synthesis.shards import Shard, group_shards

if TYPE_CHECKING:
    from ddkit.run import Run

DECODED = 1024  # images at a time that become pixels on the device


class Objective(ABC):
    """A method's side of the synthesis. `ImageObjective` below gives the common case."""

    steps: int = 0
    """Optimiser steps per shard. Zero is legal: the initial leaves are the result."""

    advice: str = "lower the learning rate"
    """What to do when the loss is not finite any more, for the error message."""

    precisions: Sequence[Precision] = ("fp32", "tf32")
    """The precisions that the steps are known to bear; a CUDA device measures which is fastest."""

    turns: Sequence[int] = ()
    """The steps before which leaves begin anew, in the order of a synthesis in phases."""

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

    def measured(self) -> Mapping[str, Any]:
        """Return options as this run settles them by measuring; it is rehearsed with these."""
        return {}

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

    def renewed(
        self, shard: Shard, leaves: Mapping[str, Tensor], step: int
    ) -> Mapping[str, Tensor]:
        """Return the values, of whatever shape, of the leaves that begin anew before a step.

        Called before each of `turns`. Their optimisers begin anew too; schedules, averages'
        rates and limits are those of `initialise`. Must follow from its arguments alone.

        Args:
            leaves: what each leaf has come to.
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

        `initialise` must start it again: shards know nothing of each other. Default: nothing.
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

    def start(self, shard: Shard) -> Tensor:
        """Return where the images of a shard start, network inputs on the CPU."""
        return initial_inputs(self.run, shard)

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        images = self.start(shard)
        constraint = None
        if self.clip and self.run.space.zca is None:
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

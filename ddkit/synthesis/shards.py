"""Shards: the parts of a set that are distilled on their own."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ddkit.run import Run
from ddkit.runtime.errors import DdkitError


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

    @classmethod
    def of(cls, run: Run, index: int, slots: Tensor) -> "Shard":
        """Return the shard that holds these slots (int64) of the class-major set."""
        return cls(index, slots, slots // run.ipc)

    def __len__(self) -> int:
        return len(self.slots)


def group_shards(run: "Run", groups: int) -> list[Shard]:
    """Split the set into groups of image indices, equal up to one index, with all classes in each.

    `groups` is at most the images per class.
    """
    slots = torch.arange(run.total).view(len(run.classes), run.ipc)
    parts = torch.tensor_split(slots, groups, dim=1)
    return [Shard.of(run, index, part.flatten()) for index, part in enumerate(parts)]


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
    return [Shard.of(run, index, part) for index, part in enumerate(parts)]

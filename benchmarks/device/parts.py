"""What the parts share: items that are done in lanes, and the lines that they serve."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch


@dataclass(frozen=True)
class Bench:
    """What an item works with.

    Attributes:
        folder: for files that are thrown away at the end.
        data: a folder of CIFAR-10, or None.
        small: whether everything is tiny, since the device or the time is too small for the rest.
    """

    device: torch.device
    folder: Path
    data: Path | None = None
    small: bool = False

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def scratch(self) -> Path:
        """Return a new folder."""
        return Path(mkdtemp(dir=self.folder))


@dataclass(frozen=True)
class Line:
    """A line of a part's table. A later one of the same name takes its place.

    Attributes:
        cells: by column, for people.
        figures: JSON values, for machines.
    """

    name: str
    cells: dict[str, str]
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """Something to do.

    Attributes:
        title: unlike all others of its part.
        work: (bench, seconds it should take) → its lines, each as soon as it is known.
        seconds: what it should take on an H100.
        because: where that number comes from.
        cuda: whether it says something on CUDA only.
    """

    title: str
    work: Callable[[Bench, float], Iterable[Line]]
    seconds: float
    because: str = ""
    cuda: bool = False


@dataclass(frozen=True)
class Part:
    """A part of the bench.

    Attributes:
        module: where it is `PART`, for other processes.
        minutes: what it takes on an H100.
        lanes: the items of each of the processes that work at once, in order.
        note: what its table says, for people.
        patience: how many times its seconds an item may take on CUDA, and 20 seconds.
        needs_data: whether it makes nothing without CIFAR-10.
    """

    name: str
    module: str
    minutes: float
    lanes: tuple[tuple[Item, ...], ...]
    note: str
    patience: float = inf
    needs_data: bool = False


def part_in(module: str) -> Part:
    part: Part = import_module(module).PART
    return part


def in_lanes(items: Iterable[Item], count: int) -> tuple[tuple[Item, ...], ...]:
    """Return items in lanes that take about as long as each other, in the order given."""
    lanes: list[list[Item]] = [[] for _ in range(count)]
    for item in items:
        min(lanes, key=lambda lane: sum(each.seconds for each in lane)).append(item)
    return tuple(map(tuple, lanes))

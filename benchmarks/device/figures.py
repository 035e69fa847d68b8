"""What a figure is, how one of ddkit's steps and the same step in bare torch become its rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from benchmarks.device.arithmetics import arithmetics, within
from benchmarks.device.floors import Floor, Floors, count
from benchmarks.device.timing import Step, bearable, in_turn
from ddkit.arithmetic import PRECISIONS, Arithmetic, Precision

SCRATCH = "scratch"  # emptied after each figure
ROUNDS = 10  # steps that a figure's time must hold: to find the size, untimed, timed
TIMED = 0.5  # the share of that time in which steps are timed


@dataclass(frozen=True)
class Bench:
    """What all figures share.

    Attributes:
        floors: what the device reaches.
        folder: for files that are thrown away at the end.
        data: a folder of CIFAR-10, or None.
    """

    device: torch.device
    floors: Floors
    folder: Path
    data: Path | None = None

    def scratch(self) -> Path:
        """Return a new folder for the files of one figure."""
        (self.folder / SCRATCH).mkdir(exist_ok=True)
        return Path(mkdtemp(dir=self.folder / SCRATCH))


@dataclass(frozen=True)
class Row:
    """One line: how long a step takes.

    Attributes:
        seconds: of ddkit's step.
        arithmetic: how it is computed.
        floor: what the step takes at least; None where it was not counted.
        bare: seconds of the same step in bare torch; None where there is no such step.
        count, unit: how many of what a step gives, where that is what people ask for.
    """

    title: str
    seconds: float
    arithmetic: str
    floor: Floor | None = None
    bare: float | None = None
    count: float = 0.0
    unit: str = ""
    note: str = ""

    @property
    def of_floor(self) -> float | None:
        """The floor over what was measured; above 1 only where caches beat the large copy."""
        return None if self.floor is None else self.floor.seconds / self.seconds

    @property
    def of_bare(self) -> float | None:
        """ddkit's seconds over those of bare torch."""
        return None if self.bare is None else self.seconds / self.bare

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "floor/measured": self.of_floor, "ddkit/bare": self.of_bare}


@dataclass(frozen=True)
class Outcome:
    """A line of the table of distillations: a set's accuracy beside that of random images."""

    cells: dict[str, str]
    figures: dict[str, Any]


Line = Row | Outcome


@dataclass(frozen=True)
class Figure:
    """Something to measure. `share` is its weight in the time; `measure` gets its seconds."""

    title: str
    measure: Callable[[float], Iterable[Line]]
    share: float = 1.0


@dataclass(frozen=True)
class Sides:
    """A step of ddkit's in an arithmetic, and the same one in bare torch.

    The bare one is laid out for the arithmetic, but computes in whichever it is called in.
    """

    ours: Callable[[Arithmetic], Step]
    bare: Callable[[Arithmetic], Step]


def compared(
    bench: Bench, title: str, sizes: Sequence[int], sides_of: Callable[[int], Sides],
    seconds: float, *, bears: Sequence[Precision] = PRECISIONS, layouts: bool = True,
    unit: str = "", of: str = "images",
) -> Iterator[Row]:  # fmt: skip
    """Serve the rows of a step at the largest size that its time bears: one per arithmetic.

    Args:
        sizes: ascending; the last is the one meant.
        bears, layouts: which arithmetics; see `arithmetics`.
        unit: what a step gives as many of as its size, where that is asked for.
        of: what a size counts.
    """
    device = bench.device
    chosen = arithmetics(device, bears, layouts=layouts)
    each = seconds / ROUNDS / len(chosen)
    size = bearable(sizes, lambda size: sides_of(size).ours(chosen[0]), device, each)
    sides = sides_of(size)
    for number, arithmetic in enumerate(chosen):
        bare = within(arithmetic, device, sides.bare(arithmetic))
        ours = sides.ours(arithmetic)
        counted = count(bare)
        ours()
        share = TIMED * seconds / len(chosen)
        taken = in_turn({"ours": ours, "bare": bare}, device, share)
        yield Row(
            title, taken["ours"], str(arithmetic),
            bench.floors.of(counted.flops, counted.bytes, arithmetic.precision), taken["bare"],
            size if unit else 0, unit, smaller(size, sizes, of) if not number else "",
        )  # fmt: skip


def smaller(size: int, sizes: Sequence[int], of: str) -> str:
    """Return what a row says of a size that is not the one meant."""
    return "" if size == sizes[-1] else f"{of}: {size} instead of {sizes[-1]}, more took too long"

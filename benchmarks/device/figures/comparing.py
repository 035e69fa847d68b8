"""How one of ddkit's steps and the same step in bare torch become lines of the table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache

from benchmarks.device.arithmetics import arithmetics, within
from benchmarks.device.floors import Floor, Floors, count
from benchmarks.device.parts import Bench, Line
from benchmarks.device.timing import Step, Timing, in_turn
from ddkit.runtime.arithmetic import PRECISIONS, Arithmetic, Precision

TIMED = 0.6  # the share of a figure's time in which steps are timed


@dataclass(frozen=True)
class Sides:
    """A step of ddkit's in an arithmetic, and the same one in bare torch.

    The bare one is laid out for the arithmetic, but computes in whichever it is called in.
    """

    ours: Callable[[Arithmetic], Step]
    bare: Callable[[Arithmetic], Step]


@cache
def floors(bench: Bench) -> Floors:
    """Return what the device reaches, measured when it is first asked for."""
    return Floors.measure(bench)


def compared(
    bench: Bench,
    title: str,
    sides: Sides,
    seconds: float,
    *,
    precisions: Sequence[Precision] = PRECISIONS,
    layouts: bool = True,
) -> Iterator[Line]:
    """Serve the lines of a step, one per arithmetic.

    Args:
        precisions, layouts: which arithmetics; see `arithmetics`.
    """
    chosen = arithmetics(bench.device, precisions, layouts=layouts)
    for arithmetic in chosen:
        bare = within(arithmetic, bench.device, sides.bare(arithmetic))
        ours = sides.ours(arithmetic)
        counted = count(bare)
        ours()
        taken = in_turn({"ours": ours, "bare": bare}, bench, TIMED * seconds / len(chosen))
        floor = floors(bench).of(counted.flops, counted.bytes, arithmetic.precision)
        yield line_of(title, arithmetic, taken["ours"], taken["bare"], floor)


def line_of(
    title: str,
    arithmetic: Arithmetic | str,
    ours: Timing,
    bare: Timing | None = None,
    floor: Floor | None = None,
    note: str = "",
) -> Line:
    """Return the line of a figure."""
    ratio = None if bare is None else ours.wall / bare.wall
    share = None if floor is None else floor.seconds / ours.wall
    cells = {
        "figure": title,
        "arithmetic": str(arithmetic),
        "ddkit": shown(ours.wall),
        "of it kernels": kernels(ours),
        "bound by": ours.bound,
        "bare torch": "" if bare is None else shown(bare.wall),
        "of it kernels ": "" if bare is None else kernels(bare),
        "ddkit / bare": "" if ratio is None else f"{ratio:.3f}",
        "floor": "" if floor is None else f"{shown(floor.seconds)} ({floor.bound})",
        "floor / ddkit": "" if share is None else f"{100 * share:.0f} %",
        "": note,
    }
    figures = {
        "arithmetic": str(arithmetic),
        "ddkit": asdict(ours),
        "bare": None if bare is None else asdict(bare),
        "ddkit/bare": ratio,
        "floor": None if floor is None else asdict(floor),
        "note": note,
    }
    return Line(f"{title}, {arithmetic}", cells, figures)


def kernels(timing: Timing) -> str:
    return "" if timing.kernels is None else f"{shown(timing.kernels)} ({timing.launches:,})"


def shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.2f} ms"

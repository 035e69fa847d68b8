"""What a device computes and moves in a second, with one large operation: the floors."""

from collections.abc import Iterator

from benchmarks.device.figures.comparing import floors
from benchmarks.device.parts import Bench, Item, Line


def rates(bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve each rate as a line of the table."""
    found = floors(bench)
    for name, rate in found.lines():
        yield Line(name, {"figure": name, **dict.fromkeys(BLANK, ""), "": rate}, {"rate": rate})


BLANK = [
    "arithmetic",
    "ddkit",
    "of it kernels",
    "bound by",
    "bare torch",
    "of it kernels ",
    "ddkit / bare",
    "floor",
    "floor / ddkit",
]
ITEM = Item("what the device can do", rates, 6, "ten tries each of a copy, products, convolutions")

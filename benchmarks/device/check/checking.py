"""What a check is: it returns what it found, or raises what is wrong."""

import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.device.lanes import described
from benchmarks.device.parts import Bench, Item, Line

Check = Callable[[Bench], str]


class WrongError(Exception):
    """What a check found to be wrong."""


def checked(title: str, check: Check, seconds: float, because: str, *, cuda: bool = False) -> Item:
    """Return a check as an item; `check` returns what it found, `seconds` are an H100's."""
    return Item(title, partial(outcome, title, check), seconds, because, cuda)


def outcome(title: str, check: Check, bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve the line of a check."""
    began = time.perf_counter()
    try:
        result, found = "passed", check(bench)
    except WrongError as wrong:
        result, found = "failed", str(wrong)
    except Exception as error:  # whatever it raises, that is what is wrong
        result, found = "failed", described(error)
    taken = time.perf_counter() - began
    cells = {"check": title, "result": result, "what was found": found, "seconds": f"{taken:.1f}"}
    yield Line(title, cells, {"result": result, "found": found, "seconds": round(taken, 2)})


def demand(holds: bool, wrong: str) -> None:
    """Raise what is wrong unless it holds."""
    if not holds:
        raise WrongError(wrong)

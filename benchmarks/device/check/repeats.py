"""Each method twice, in one pinned arithmetic: the same bytes, also where it was stopped."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.device.check.checking import WrongError, checked, demand
from benchmarks.device.check.runs import METHODS, config_of, distilled
from benchmarks.device.parts import Bench
from ddkit.runtime.interrupt import Stopped, request_stop, stopping_on_signals
from ddkit.runtime.progress import Silent
from ddkit.runtime.tensors import TensorFile

STOPS = 40  # at most: one for each loop of a run is far fewer


class Stopping(Silent):
    """Asks for a stop once in each loop: after its first step, epoch or image."""

    def __init__(self) -> None:
        self.stopped: set[str] = set()
        self.names: list[str] = []

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator["Stopping"]:
        self.names.append(name)
        try:
            yield self
        finally:
            self.names.pop()

    def advance(self, steps: int = 1) -> None:
        if self.names and steps and self.names[-1] not in self.stopped:
            self.stopped.add(self.names[-1])
            request_stop()


def repeats(name: str, bench: Bench) -> str:
    """Check that a run gives the same bytes again, and when it is stopped in every loop."""
    config, folder = config_of(bench, name), bench.scratch()
    first, again = (distilled(config, folder / which) for which in ("first", "again"))
    demand(first.read_bytes() == again.read_bytes(), f"another time {difference(first, again)}")
    stopping = Stopping()
    for _ in range(STOPS):
        with stopping_on_signals(), suppress(Stopped):
            stopped = distilled(config, folder / "stopped", stopping)
            break
    else:
        raise WrongError(f"it was not done after {STOPS} stops")
    stops = len(stopping.stopped)
    same = first.read_bytes() == stopped.read_bytes()
    demand(same, f"after {stops} stops {difference(first, stopped)}")
    return f"the same bytes, also after {stops} stops"


def difference(one: Path, other: Path) -> str:
    """Return how two artifacts differ."""
    ours, theirs = TensorFile(one), TensorFile(other)
    for name in sorted({*ours.names, *theirs.names}):
        if name not in ours.names or name not in theirs.names:
            return f"'{name}' is in one of them only"
        left, right = ours[name], theirs[name]
        if left.shape != right.shape:
            return f"'{name}' has another shape"
        if (away := (left != right)).any():
            most = (left.float() - right.float()).abs().max().item()
            return f"'{name}' differs in {int(away.sum())} of {left.numel()} values, by {most:.3g}"
    return "the metadata differ"


ITEMS = [
    checked(f"the same bytes: {name}", partial(repeats, name), 4, "three small runs")
    for name in METHODS
]

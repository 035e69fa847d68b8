"""Progress in plain lines, where no terminal shows bars: nohup, Slurm, CI, a pipe."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf

from ddkit.runtime.shown import shown
from ddkit.runtime.sizes import readable

LINE_SECONDS = 60.0
SETTLING_SECONDS = 1.0  # what a resumed stage reports at once is no measure of its pace


class Lines:
    """Says on stderr how far work is; implements `Progress`.

    A line as each outermost task ends, and at most one a minute on the way: with what is innermost
    then. The first line of all comes at once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: list[Counted] = []
        self._due = -inf

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator["Counted"]:
        task = Counted(name, total, done, self._clock, self._moved)
        self._open.append(task)
        self._moved()
        try:
            yield task
        finally:
            self._open.remove(task)
            if not self._open:
                self._say(task.ended())

    def note(self, text: str) -> None:
        """Say a line of its own, at once."""
        with suppress(OSError, ValueError):  # a reader that left ends no run of hours
            print(shown(text), file=sys.stderr, flush=True)

    def _moved(self) -> None:
        if self._clock() >= self._due:
            outer, inner = self._open[0], self._open[-1]
            self._say(outer.going() if inner is outer else f"{outer.going()}; {inner.going()}")

    def _say(self, text: str) -> None:
        self.note(f"{text}, {readable(memory_in_use())}")
        self._due = self._clock() + LINE_SECONDS


class Counted:
    """How far one task is; a `Task`."""

    def __init__(
        self,
        name: str,
        total: int,
        done: int,
        clock: Callable[[], float],
        moved: Callable[[], None],
    ):
        self._name, self._total, self._done = name, total, done
        self._clock, self._moved = clock, moved
        self._began = clock()
        self._from = self._began, done  # the pace counts from here
        self._figures = ""

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        now = self._clock()
        if now - self._began < SETTLING_SECONDS:
            self._from = now, self._done
        self._moved()

    def show(self, **figures: str) -> None:
        self._figures = "".join(f", {name} {value}" for name, value in figures.items())

    def going(self) -> str:
        """Return "synthesis: 120/1000, 44 s left, loss 0.5"; no time before there is a pace."""
        since, before = self._from
        gained, left = self._done - before, self._total - self._done
        time_left = f", {(self._clock() - since) / gained * left:.0f} s left" if gained > 0 else ""
        return f"{self._name}: {self._done}/{self._total}{time_left}{self._figures}"

    def ended(self) -> str:
        """Return "synthesis: 1000/1000 in 50 s, loss 0.1"."""
        took = self._clock() - self._began
        return f"{self._name}: {self._done}/{self._total} in {took:.0f} s{self._figures}"


def memory_in_use() -> int:
    """Return bytes: the CUDA allocator's peak where there is one, else this process's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

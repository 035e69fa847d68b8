"""How units on other machines tell how far they are, and hear that they shall stop.

A unit's process has a `Reporter`, whose state goes to the driver's `Board` now and then; the
board's answer says whether to stop at the next safe point.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ddkit.runtime.interrupt import Stopped, request_stop
from ddkit.runtime.progress import Progress, Task

REPORT_SECONDS = 0.5
LINES = 8  # of units that are shown at once


@dataclass(frozen=True)
class Report:
    """How far a unit is in what it does at the moment."""

    name: str
    total: int
    done: int = 0
    figures: dict[str, str] = field(default_factory=dict)


class Board:
    """Holds the latest report of each unit; an actor on the driver's machine."""

    def __init__(self) -> None:
        self._reports: dict[int, Report | None] = {}
        self._notes: list[str] = []
        self._stopping = False

    def clear(self) -> None:
        """Forget the units of an earlier job, none of which runs any more."""
        self._reports.clear()
        self._stopping = False

    def report(self, unit: int, report: Report | None, notes: list[str]) -> bool:
        """Take the report of a unit that runs; return whether it shall stop."""
        self._reports[unit] = report
        self._notes += notes
        return self._stopping

    def read(self, units: list[int]) -> tuple[dict[int, Report | None], list[str]]:
        """Return the reports of those units that sent any, and the notes since the last call."""
        notes, self._notes = self._notes, []
        self._reports = {unit: self._reports[unit] for unit in units if unit in self._reports}
        return self._reports, notes

    def stop(self) -> None:
        """Tell every unit, and those yet to come, to stop at the next safe point."""
        self._stopping = True


class Reporter:
    """What a unit reports to: a `Progress` that keeps the latest state of its innermost task."""

    def __init__(self) -> None:
        self._tasks: list[Report] = []
        self._notes: list[str] = []

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator[Task]:
        self._tasks.append(Report(name, total, done))
        yield self
        self._tasks.pop()

    def advance(self, steps: int = 1) -> None:
        now = self._tasks[-1]
        self._tasks[-1] = Report(now.name, now.total, now.done + steps, now.figures)

    def show(self, **figures: str) -> None:
        now = self._tasks[-1]
        self._tasks[-1] = Report(now.name, now.total, now.done, figures)

    def note(self, text: str) -> None:
        self._notes.append(text)

    def take(self) -> tuple[Report | None, list[str]]:
        """Return the latest report, and the notes that came since the last call."""
        notes, self._notes = self._notes, []
        return (self._tasks[-1] if self._tasks else None), notes


@contextmanager
def reporting(board: Any, unit: int) -> Iterator[Reporter]:
    """Report to `board` (an actor's handle) for the time of the block.

    Raises `Stopped` where the board says so at once: the unit then has not begun.
    """
    reporter = Reporter()
    ended = threading.Event()

    def told_to_stop() -> bool:
        try:  # a future: a blocking `ray.get` could lend this unit's CPU to the next one
            return bool(board.report.remote(unit, *reporter.take()).future().result())
        except Exception:  # the board is gone, and with it whoever waits for this unit
            return True

    def keep_telling() -> None:
        while not ended.wait(REPORT_SECONDS):
            if told_to_stop():
                request_stop()

    if told_to_stop():
        raise Stopped
    thread = threading.Thread(target=keep_telling, daemon=True)
    thread.start()
    try:
        yield reporter
    finally:
        ended.set()
        thread.join()
        told_to_stop()  # the last notes


class Display:
    """Shows the reports of all running units: one bar over the job, one for each of a few units."""

    def __init__(self, progress: Progress, bar: Task):
        self._progress = progress
        self._bar = bar
        self._shown = 0
        self._lines: dict[tuple[int, str], tuple[ExitStack, Task, int]] = {}

    def update(self, finished: int, running: dict[int, tuple[int, Report | None]]) -> None:
        """Show what is so now.

        Args:
            finished: the size of the units that were finished.
            running: by number, the size of a unit and its report.
        """
        begun = sum(int(size * share(report)) for size, report in running.values())
        self._bar.advance(finished + begun - self._shown)
        self._shown = finished + begun
        self._bar.show(**({"running": str(len(running))} if running else {}))
        reports = [(number, report) for number, (_, report) in running.items() if report]
        wanted = {(number, report.name): report for number, report in reports[:LINES]}
        for key in [key for key in self._lines if key not in wanted]:
            self._lines.pop(key)[0].close()
        for key, report in wanted.items():
            stack, line, done = self._lines.get(key) or self._line(report)
            line.advance(report.done - done)
            line.show(**report.figures)
            self._lines[key] = stack, line, report.done

    def close(self) -> None:
        """Take away the units' bars."""
        for stack, _, _ in self._lines.values():
            stack.close()
        self._lines.clear()

    def _line(self, report: Report) -> tuple[ExitStack, Task, int]:
        stack = ExitStack()
        line = stack.enter_context(self._progress.task(report.name, report.total, report.done))
        return stack, line, report.done


def share(report: Report | None) -> float:
    """Return how much of what a unit does at the moment is done, 0 … 1."""
    return report.done / report.total if report and report.total else 0.0

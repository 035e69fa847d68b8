"""Bars with time, loss and memory while work goes on: in a terminal, or below a notebook's cell."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ddkit.runtime.lines import Lines, memory_in_use
from ddkit.runtime.progress import Progress as Reporter
from ddkit.runtime.progress import Silent
from ddkit.runtime.shown import shown
from ddkit.runtime.sizes import readable

REDRAW_SECONDS = 0.5  # a notebook's page is sent each drawing again
CELL_WIDTH = 110  # characters


def reporter(progress: bool | Reporter) -> Reporter:
    """Return what work reports to: nothing, bars where the user is, or what the caller brought.

    Where stderr is no terminal that can draw bars, there are plain lines.
    """
    if not isinstance(progress, bool):
        return progress
    if not progress:
        return Silent()
    if Console().is_jupyter:
        return CellBars()
    # asked of the stream itself: rich takes a file for a terminal where CI sets FORCE_COLOR
    drawn = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return Bars() if drawn else Lines()


class MemoryColumn(ProgressColumn):
    """Memory in use: the CUDA allocator's where there is one, else this process's peak."""

    max_refresh = 1.0

    def render(self, task: Task) -> Text:
        return Text(readable(memory_in_use()), style="dim")


class Bars:
    """Shows the core's progress on stderr with rich; implements `Progress`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._progress: Progress | None = None

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator["Bar"]:
        """Show a bar; one inside another is below it, for as long as it lasts."""
        if self._progress is not None:
            number = self._progress.add_task(shown(name), total=total, completed=done, figures="")
            yield Bar(self._progress, number, self._changed)
            self._progress.remove_task(number)
            return
        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            MemoryColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self.console,
        )
        number = progress.add_task(shown(name), total=total, completed=done, figures="")
        with self._drawn(progress):
            self._progress = progress
            try:
                yield Bar(progress, number, self._changed)
            finally:
                self._progress = None

    def note(self, text: str) -> None:
        self.console.print(shown(text), highlight=False, markup=False)

    def _drawn(self, progress: Progress) -> AbstractContextManager[Any]:
        """Show bars for the time of the block."""
        return progress

    def _changed(self) -> None:
        """Hear that a bar has moved; a terminal is redrawn by a thread of rich's."""


class CellBars(Bars):
    """Shows bars as one output of a notebook's cell, redrawn in its place; needs no widgets."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console(file=StringIO(), force_jupyter=False, width=CELL_WIDTH)
        self._redraw: Callable[[], None] = lambda: None
        self._drawn_at = 0.0

    def note(self, text: str) -> None:
        _displayed(shown(text))

    @contextmanager
    def _drawn(self, progress: Progress) -> Iterator[None]:
        output = _displayed(self._text(progress))
        self._redraw = lambda: output.update({"text/plain": self._text(progress)}, raw=True)
        try:
            yield
        finally:
            self._redraw()
            self._redraw = lambda: None

    def _changed(self) -> None:
        now = time.monotonic()
        if now - self._drawn_at > REDRAW_SECONDS:
            self._drawn_at = now
            self._redraw()

    def _text(self, progress: Progress) -> str:
        with self.console.capture() as captured:
            self.console.print(progress.get_renderable())
        return captured.get().rstrip("\n")


class Bar:
    """One bar."""

    def __init__(self, progress: Progress, number: Any, changed: Callable[[], None]):
        self._progress = progress
        self._number = number
        self._changed = changed

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._number, steps)
        self._changed()

    def show(self, **figures: str) -> None:
        text = "  ".join(f"{name} {value}" for name, value in figures.items())
        self._progress.update(self._number, figures=shown(text))


def _displayed(text: str) -> Any:
    """Show text below the cell that runs; return the handle that changes it."""
    from IPython.display import display

    return display({"text/plain": text}, raw=True, display_id=True)

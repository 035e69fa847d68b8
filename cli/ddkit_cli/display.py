"""What a person sees: bars with time, loss and memory during work, tables when it is done."""

import json
import resource
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import click
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
from rich.table import Table
from rich.text import Text

from ddkit.budget import readable
from ddkit.progress import Progress as Reporter
from ddkit.progress import Silent

if TYPE_CHECKING:
    from ddkit.bench.measures import Spread


class MemoryColumn(ProgressColumn):
    """Memory in use: the CUDA allocator's where there is one, else this process's peak."""

    max_refresh = 1.0

    def render(self, task: Task) -> Text:
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            used = torch.cuda.max_memory_allocated()
        else:
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Text(readable(used), style="dim")


class Bars:
    """Shows the core's progress on stderr with rich; implements `ddkit.progress.Progress`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._progress: Progress | None = None

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator["Bar"]:
        """Show a bar; one inside another is below it, for as long as it lasts."""
        if self._progress is not None:
            number = self._progress.add_task(name, total=total, completed=done, figures="")
            yield Bar(self._progress, number)
            self._progress.remove_task(number)
            return
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            MemoryColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
        ) as progress:
            self._progress = progress
            number = progress.add_task(name, total=total, completed=done, figures="")
            try:
                yield Bar(progress, number)
            finally:
                self._progress = None

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False)


class Bar:
    """One bar."""

    def __init__(self, progress: Progress, number: Any):
        self._progress = progress
        self._number = number

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._number, steps)

    def show(self, **figures: str) -> None:
        text = "  ".join(f"{name} {value}" for name, value in figures.items())
        self._progress.update(self._number, figures=text)


def progress_for(quiet: bool) -> "Reporter":
    """Return where the core reports to: bars, or nothing with -q and --json."""
    return Silent() if quiet else Bars()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout; as wide as it needs to be where stdout is no terminal."""
    sheet = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        sheet.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        sheet.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(sheet, highlight=False)


def as_json(value: Any) -> None:
    """Print a value as JSON to stdout, for machines."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, default=str))


def percent(accuracies: Sequence[float]) -> str:
    """Return accuracies as their mean and standard deviation: "73.4 ± 1.2 %"."""
    spread = f" ± {100 * stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
    return f"{100 * fmean(accuracies):.1f}{spread} %"


def spread(found: "Spread") -> str:
    """Return accuracies as their mean and the standard deviation over sets: "73.4 ± 1.2 %"."""
    between = "" if isnan(found.between) else f" ± {100 * found.between:.1f}"
    return f"{100 * found.mean:.1f}{between} %"


def signed(difference: float | None) -> str:
    """Return a difference of accuracies in points: "+3.1"; empty where there is none."""
    return "" if difference is None else f"{100 * difference:+.1f}"


def duration(seconds: float) -> str:
    """Return a time as people read it: "40 s", "12 min", "3.5 h"; empty where there is none."""
    if seconds < 0.5:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

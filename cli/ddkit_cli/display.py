"""What a person sees: bars with time, loss and memory during work, tables when it is done."""

import json
import sys
from collections.abc import Iterable, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from ddkit.pipeline.rows import WIDTH
from ddkit.pipeline.rows import table as drawn
from ddkit.runtime.bars import reporter
from ddkit.runtime.progress import Progress
from ddkit.runtime.shown import shown

if TYPE_CHECKING:
    from ddkit.bench.measures import Spread


def progress_for(quiet: bool) -> Progress:
    """Return where the core reports to: bars or plain lines, or nothing with -q and --json."""
    return reporter(not quiet)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout; as wide as it needs to be where stdout is no terminal."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(drawn(title, columns, rows), highlight=False)


def say(text: str, *, err: bool = False) -> None:
    """Print one line to stdout, or to stderr, whatever names of data or plugins are in it."""
    click.echo(shown(text), err=err)


def as_json(value: Any) -> None:
    """Print a value as JSON to stdout, for machines."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, default=str))


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

"""A comparison as people read it: a table in a terminal, in a script and in a notebook."""

from collections.abc import Iterable, Sequence
from html import escape
from io import StringIO
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ddkit.runtime.shown import shown

if TYPE_CHECKING:
    from ddkit.pipeline.evaluate import Row as Row
    from ddkit.runtime.loggers import Logger

HEADINGS = (
    "set",
    "network",
    "protocol",
    "labels",
    "test accuracy",
    "n",
    "over random",
    "seconds",
)
WIDTH = 140  # characters of a table that is no terminal's


class Rows(list["Row"]):
    """The rows of a comparison; shows itself as a table.

    Attributes:
        title: what was compared.
    """

    def __init__(self, title: str, rows: Iterable["Row"]):
        super().__init__(rows)
        self.title = title

    def cells(self) -> list[tuple[str, ...]]:
        """Return what stands under each of `HEADINGS`, row by row."""
        return [_cells(row) for row in self]

    def to_json(self) -> list[dict[str, Any]]:
        """Return all figures of all rows, as JSON values."""
        return [row.to_json() for row in self]

    def tell(self, logger: "Logger") -> None:
        """Tell a logger the accuracy of each seed; the seed stands where steps stand elsewhere."""
        for row in self:
            found = row.evaluation
            name = shown(f"accuracy/{row.title}, {found.network}, {found.protocol}")
            for seed, accuracy in enumerate(found.accuracies):
                logger.scalar(name, accuracy, seed)

    def __repr__(self) -> str:
        console = Console(file=StringIO(), force_jupyter=False, width=WIDTH)
        with console.capture() as captured:
            console.print(table(self.title, HEADINGS, self.cells()), highlight=False)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(shown(text))}</td>" for text in cells) + "</tr>"
            for cells in self.cells()
        )
        caption = f"<caption>{escape(shown(self.title))}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: "Row") -> tuple[str, ...]:
    found = row.evaluation
    return (
        row.title,
        found.network,
        ", ".join(filter(None, [found.protocol, found.note])),
        found.labels,
        percent(found.accuracies),
        str(len(found.accuracies)),
        "" if row.over_random is None else f"{100 * row.over_random:+.1f}",
        f"{found.seconds:.0f}",
    )


def percent(accuracies: Sequence[float]) -> str:
    """Return accuracies as their mean and standard deviation: "73.4 ± 1.2 %"."""
    spread = f" ± {100 * stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
    return f"{100 * fmean(accuracies):.1f}{spread} %"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table whose first column is never wrapped; all texts are shown as they are."""

    def plain(text: str) -> Text:
        return Text(shown(text))

    sheet = Table(title=plain(title), title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        sheet.add_column(plain(column), overflow="fold", no_wrap=index == 0)
    for row in rows:
        sheet.add_row(*map(plain, row))
    return sheet

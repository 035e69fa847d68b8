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

PUBLISHED = "published"  # shown where a paper reports one of the rows
HEADINGS = (
    "set",
    "network",
    "protocol",
    "labels",
    "test accuracy",
    "n",
    "over random",
    PUBLISHED,
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

    @property
    def headings(self) -> tuple[str, ...]:
        """What stands over the columns."""
        told = any(row.published for row in self)
        return tuple(name for name in HEADINGS if told or name != PUBLISHED)

    @property
    def notes(self) -> list[str]:
        """Where the published figures stand, a line for each; none where none is shown."""
        return list(dict.fromkeys(row.published.source for row in self if row.published))

    def cells(self) -> list[tuple[str, ...]]:
        """Return what stands under each of `headings`, row by row."""
        return [tuple(_cells(row)[name] for name in self.headings) for row in self]

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
            console.print(table(self.title, self.headings, self.cells()), highlight=False)
            for note in self.notes:
                console.print(Text(shown(note)))
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(heading)}</th>" for heading in self.headings)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(shown(text))}</td>" for text in cells) + "</tr>"
            for cells in self.cells()
        )
        caption = f"<caption>{escape(shown(self.title))}</caption>"
        notes = "".join(f"<p>{escape(shown(note))}</p>" for note in self.notes)
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def _cells(row: "Row") -> dict[str, str]:
    found = row.evaluation
    texts = (
        row.title,
        found.network,
        ", ".join(filter(None, [row.recipe or found.protocol, found.note])),
        found.labels,
        percent(found.accuracies),
        str(len(found.accuracies)),
        "" if row.over_random is None else f"{100 * row.over_random:+.1f}",
        row.published.text if row.published else "",
        f"{found.seconds:.0f}",
    )
    return dict(zip(HEADINGS, texts, strict=True))


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

"""The tables of the page: what stands in each column, and what it is sorted by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isnan
from statistics import fmean

from ddkit.bench.measures import Spread
from ddkit.bench.result_rows import Row, conditions, recipe_name
from ddkit.bench.results import Results
from ddkit.bench.tables import PUBLISHED, measured
from ddkit.bench.words import (
    accuracy,
    duration,
    memory,
    p_value,
    points,
    rate_note,
    score,
    standing_of,
    stored_bytes,
    trained,
    verdict,
)
from ddkit.runtime.sizes import readable


@dataclass(frozen=True)
class Cell:
    """Text, and the number it is sorted by; None sorts by the text.

    Attributes:
        small: a second line, of lesser weight.
        share: 0 … 1, drawn as a bar under the text.
    """

    text: str
    value: float | None = None
    small: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Column:
    """Attributes:
    group: columns that are shown and hidden together; empty for those that always are shown.
    note: what the column means, where its title does not say it.
    """

    title: str
    group: str = ""
    note: str = ""
    number: bool = True


@dataclass(frozen=True)
class Line:
    """A row, with what filters find it by: names of the page's filters and values."""

    cells: list[Cell]
    found_by: dict[str, list[str]]


@dataclass(frozen=True)
class Table:
    id: str
    caption: str
    columns: list[Column]
    lines: list[Line]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The titles above the columns, and how many columns each spans."""
        return [(name, len(list(cols))) for name, cols in groupby(c.group for c in self.columns)]

    @property
    def optional(self) -> list[str]:
        return [name for name in dict.fromkeys(column.group for column in self.columns) if name]


def found_by(
    methods: Sequence[str], data: str, ipc: int, protocol: str, recipe: str, network: str | None
) -> dict[str, list[str]]:
    """Return what the page's filters find a thing by; None: whatever the network."""
    found = {
        "method": list(methods),
        "data": [data],
        "ipc": [str(ipc)],
        "protocol": [conditions(protocol, recipe)],
    }
    return found if network is None else {**found, "network": [network]}


def _spread(found: Spread | None) -> Cell:
    return Cell(accuracy(found), found.mean if found else None)


def _number(value: float | None, text: Callable[[float], str]) -> Cell:
    unknown = value is None or isnan(value)
    return Cell("" if unknown else text(value or 0.0), None if unknown else value)


def _memory(row: Row, what: str) -> Cell:
    return Cell(memory(row.peak_bytes[what]), row.peak_bytes[what] or None)


def _rates(row: Row) -> Cell:
    rates = row.learning_rates
    text = f"{rates[0]:.3g}" if len(rates) == 1 else f"{rates[0]:.3g} … {rates[-1]:.3g}"
    return Cell((f"{text} tuned" if row.tuned else text) + rate_note(row), rates[0])


MAIN: Sequence[tuple[Column, Callable[[Row], Cell]]] = (
    (Column("method", number=False), lambda r: Cell(r.name)),
    (Column("data", number=False), lambda r: Cell(r.data)),
    (Column("ipc", note="images per class"), lambda r: Cell(str(r.ipc), r.ipc)),
    (
        Column("network", number=False, note="trained on the set and tested"),
        lambda r: Cell(r.network),
    ),
    (
        Column("recipe", number=False, note="common to all sets, or as the method's authors train"),
        lambda r: Cell(
            recipe_name(r.protocol), small=", ".join(filter(None, [r.own_recipe, r.recipe]))
        ),
    ),
    (
        Column("labels", number=False, note="what networks are trained towards"),
        lambda r: Cell(r.labels),
    ),
    (
        Column("accuracy", note="percent, ± standard deviation over distillation seeds"),
        lambda r: Cell(accuracy(r.accuracy), r.accuracy.mean, share=r.accuracy.mean),
    ),
    (
        Column(PUBLISHED, note="by a paper, and measured minus published"),
        lambda r: (
            Cell(
                r.published.text, r.published.published.accuracy, small=r.published.published.where
            )
            if r.published
            else Cell("")
        ),
    ),
    (
        Column("standing", number=False, note="behind: another is better beyond noise"),
        lambda r: Cell(standing_of(r)),
    ),
    (
        Column("over random", note="points above random real images, same recipe"),
        lambda r: _number(r.over_random, points),
    ),
    (
        Column("p", note="paired t-test against random images over distillation seeds"),
        lambda r: _number(r.p_random, p_value),
    ),
    (
        Column("n", "spread", "distilled sets × networks on each"),
        lambda r: Cell(trained(r.accuracy), r.accuracy.sets * r.accuracy.networks),
    ),
    (
        Column("± networks", "spread", "standard deviation over networks trained on the same set"),
        lambda r: _number(r.accuracy.within, lambda value: f"{100 * value:.1f}"),
    ),
    (Column("random", "beside it", "random real images, same recipe"), lambda r: _spread(r.random)),
    (
        Column("selection", "beside it", "chosen real images, same recipe"),
        lambda r: _spread(r.selection),
    ),
    (
        Column("over selection", "beside it", "points above the selection"),
        lambda r: _number(r.over_selection, points),
    ),
    (
        Column("all real", "beside it", "networks trained on all real data, hard labels"),
        lambda r: _spread(r.real),
    ),
    (
        Column("pool", "time", "seconds to train the pool, counted whole"),
        lambda r: _number(r.seconds["pool"], duration),
    ),
    (Column("synthesis", "time", "per set"), lambda r: _number(r.seconds["synthesis"], duration)),
    (Column("relabel", "time", "per set"), lambda r: _number(r.seconds["relabel"], duration)),
    (
        Column("evaluation", "time", "per network"),
        lambda r: _number(r.seconds["evaluation"], duration),
    ),
    (Column("synthesis", "peak memory"), lambda r: _memory(r, "synthesis")),
    (Column("evaluation", "peak memory"), lambda r: _memory(r, "evaluation")),
    (
        Column("images", "storage", "factor F: each holds F × F training images"),
        lambda r: Cell(stored_bytes(r, r.image_bytes), r.image_bytes),
    ),
    (Column("labels", "storage"), lambda r: _number(r.label_bytes, readable)),
    (Column("learning rate", "recipe", "of the networks; “tuned”: chosen on the holdout"), _rates),
)


def main_table(results: Results) -> Table:
    told = any(row.published for row in results.rows)
    fields = [field for field in MAIN if told or field[0].title != PUBLISHED]
    lines = [
        Line(
            [cell(row) for _, cell in fields],
            found_by([row.name], row.data, row.ipc, row.protocol, row.recipe, row.network),
        )
        for row in results.rows
    ]
    return Table("accuracy-table", "Accuracy and cost", [column for column, _ in fields], lines)


def scores_table(results: Results) -> Table:
    columns = [
        Column("method", number=False),
        Column("data", number=False),
        Column("ipc"),
        Column("network", number=False),
        Column("recipe", number=False),
        Column("HLR", note="hard-label recovery, points: all real data − set; less is better"),
        Column("IOR", note="improvement over random, points, with the set's own labels"),
        Column("LRS", note="label robust score, 0 … 1, from HLR and IOR; more is better"),
        Column("ARS", note="augmentation robust score, 0 … 1, with and without DSA"),
    ]
    lines = []
    for s in measured(results):
        by = {"method": [s.method], "data": [s.data], "ipc": [str(s.ipc)], "network": [s.network]}
        cells = [
            Cell(s.method),
            Cell(s.data),
            Cell(str(s.ipc), s.ipc),
            Cell(s.network),
            Cell(s.recipe),
            _number(s.recovery, points),
            _number(s.over_random, points),
            _number(s.lrs, score),
            _number(s.ars, score),
        ]
        lines.append(Line(cells, by))
    return Table("scores-table", "DD-Ranking's scores", columns, lines)


def differences_table(results: Results) -> Table:
    columns = [
        Column("first", number=False),
        Column("second", number=False),
        Column("difference", note="first − second, points"),
        Column("in words", number=False),
        Column("p", note="paired t-test, Holm's correction"),
        Column("n", note="distillation seeds in common"),
        Column("data", number=False),
        Column("ipc"),
        Column("network", number=False),
        Column("protocol", number=False),
    ]
    lines = []
    for d in results.differences:
        data, ipc, network, protocol, recipe = d.group
        cells = [
            Cell(d.first),
            Cell(d.second),
            _number(d.difference, points),
            Cell(verdict(d)),
            _number(d.p, p_value),
            Cell(str(d.sets), d.sets),
            Cell(data),
            Cell(str(ipc), ipc),
            Cell(network),
            Cell(recipe_name(protocol), small=recipe),
        ]
        by = found_by([d.first, d.second], data, ipc, protocol, recipe, network)
        lines.append(Line(cells, by))
    return Table("differences-table", "Differences between methods", columns, lines)


def rankings_table(results: Results) -> Table:
    columns = [
        Column("method", number=False),
        Column("data", number=False),
        Column("ipc"),
        Column("protocol", number=False),
        Column("Spearman's ρ", note="between accuracies on the set and on all real data, by seed"),
        Column("networks", note="how many were ranked"),
    ]
    lines = []
    for r in results.rankings:
        text = "  ".join(score(value) for value in r.correlations)
        known = [value for value in r.correlations if not isnan(value)]
        value = fmean(known) if known else None
        cells = [
            Cell(r.method),
            Cell(r.data),
            Cell(str(r.ipc), r.ipc),
            Cell(recipe_name(r.protocol), small=r.recipe),
            Cell(text, value),
            Cell(str(r.networks), r.networks),
        ]
        by = found_by([r.method], r.data, r.ipc, r.protocol, r.recipe, None)
        lines.append(Line(cells, by))
    return Table("rankings-table", "Ranking of networks", columns, lines)

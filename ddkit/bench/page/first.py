"""The first screen of the page: a card per data set, with a bar and a strip of images per set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isnan

from ddkit.bench.page.charts import Style
from ddkit.bench.page.images import PREVIEW_IMAGES, Sheet
from ddkit.bench.result_rows import Row
from ddkit.bench.results import Results
from ddkit.bench.summary import Line, summaries
from ddkit.bench.words import accuracy, duration, points, recipe_of, trained


@dataclass(frozen=True)
class Entry:
    """A method at an ipc.

    Attributes:
        recipe: what its accuracy was measured under, where that is not the same in all the card.
        bar: custom properties of a style: the accuracy, where its spread begins and how wide it
            is, and random images under the same recipe, as shares of the bar.
        images: one of each class, as data URIs; none where there is no set to show.
    """

    style: Style
    row: Row
    recipe: str
    mean: str
    spread: str
    n: str
    random: str
    over: str
    verdict: str
    time: str
    pool: str
    bar: str
    images: Sequence[str]


@dataclass(frozen=True)
class Card:
    """A data set; `recipe` is what all accuracies were measured under, empty where they differ."""

    data: str
    sentences: list[str]
    recipe: str
    groups: list[tuple[int, list[Entry]]]


def cards(results: Results, looks: Mapping[str, Style], sheets: Sequence[Sheet]) -> list[Card]:
    """Return a card for each data set, its methods by ipc."""
    images: dict[tuple[str, ...], list[str]] = {}
    for sheet in sheets:
        place = tuple(sheet.found_by[name][0] for name in ("method", "data", "ipc"))
        images.setdefault(place, []).extend(sheet.preview)
    found = []
    for each in summaries(results):
        recipes = {recipe_of(line.row) for line in each.lines}
        entries = [
            _entry(
                line,
                looks[line.row.name],
                images.get((line.row.name, each.data, str(line.row.ipc)), []),
                recipe_of(line.row) if len(recipes) > 1 else "",
            )
            for line in each.lines
        ]
        groups = [(ipc, list(same)) for ipc, same in groupby(entries, key=lambda e: e.row.ipc)]
        recipe = recipes.pop() if len(recipes) == 1 else ""
        found.append(Card(each.data, each.sentences, recipe, groups))
    return found


def _entry(line: Line, style: Style, images: Sequence[str], recipe: str) -> Entry:
    row = line.row
    mean, _, spread = accuracy(row.accuracy).partition(" ")
    return Entry(
        style,
        row,
        recipe,
        mean,
        spread,
        trained(row.accuracy),
        accuracy(row.random),
        points(line.over_random),
        line.verdict,
        duration(line.seconds),
        duration(row.seconds["pool"]) if row.seconds["pool"] else "",
        _bar(row),
        images[:PREVIEW_IMAGES],
    )


def _bar(row: Row) -> str:
    mean = row.accuracy.mean
    between = 0.0 if isnan(row.accuracy.between) else row.accuracy.between
    low, high = max(0.0, mean - between), min(1.0, mean + between)
    parts = {"mean": mean, "low": low, "wide": high - low}
    if row.random:
        parts["random"] = row.random.mean
    return ";".join(f"--{name}:{value:.4f}" for name, value in parts.items())

"""What a bench found, at first sight: a row per method, data and ipc, and words on noise."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isnan, nan
from typing import Any

from ddkit.bench.measures import SIGNIFICANT, holm
from ddkit.bench.result_rows import Difference, Row, conditions
from ddkit.bench.results import EARLIER, Results
from ddkit.methods.own import OWN

RANDOM = "random"  # the method that is what stands beside the others


@dataclass(frozen=True)
class Line:
    """The row that stands for a method at an ipc.

    Attributes:
        p: against random images, after Holm's correction for all methods under these conditions;
            NaN where there is no test, and for random images themselves.
    """

    row: Row
    p: float

    @property
    def over_random(self) -> float | None:
        return None if self.row.method == RANDOM else self.row.over_random

    @property
    def seconds(self) -> float:
        """What one set took, from nothing: its pool, its images, its labels."""
        return sum(self.row.seconds[stage] for stage in ("pool", "synthesis", "relabel"))

    @property
    def verdict(self) -> str:
        """Whether the difference from random images is more than noise, in words."""
        if self.row.method == RANDOM:
            return ""
        if isnan(self.p):
            return "not tested"
        return "beyond noise" if self.p < SIGNIFICANT else "within noise"


@dataclass(frozen=True)
class Summary:
    """One data set: its lines by ipc, methods as they were asked for; what is beyond noise."""

    data: str
    sentences: list[str]
    lines: list[Line]


def summaries(results: Results) -> list[Summary]:
    """Return a summary for each data set of a bench."""
    found: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    for row in results.rows:
        found[row.data, row.ipc, row.name].append(row)
    rows = [_standing_for(each) for each in found.values()]
    return [
        _summary(data, list(each), results.differences)
        for data, each in groupby(rows, key=lambda row: row.data)
    ]


def _standing_for(rows: Sequence[Row]) -> Row:
    """Return one of a method's rows: its own recipe, whole, and the network asked for first."""

    def preference(row: Row) -> tuple[Any, ...]:
        count = re.match(r"\d*", row.recipe)  # all classes of a task, the longest training
        return (
            row.network == rows[0].network,
            row.protocol == OWN,
            row.protocol == rows[0].protocol,
            EARLIER not in row.recipe,
            not row.recipe,
            int(count[0] or 0) if count else 0,
        )

    return max(rows, key=preference)


def _summary(data: str, rows: Sequence[Row], differences: Sequence[Difference]) -> Summary:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    lines, said = [], defaultdict(list)
    for group, compared in groups.items():
        tests = {row.name: row.p_random for row in compared if row.method != RANDOM}
        corrected = holm(tests)
        judged = [Line(row, corrected.get(row.name, nan)) for row in compared]
        lines += judged
        pairs = [d for d in differences if d.group == group and {d.first, d.second} <= {*tests}]
        alone = sum(other[:2] == group[:2] for other in groups) == 1
        where = "" if alone else f" ({group[2]}, {conditions(*group[3:])})"
        if tests:
            claim = _claim([line for line in judged if line.row.name in tests], pairs)
            said[where, claim].append(str(group[1]))
    sentences = [
        f"On {data} at IPC {listed(ipc)}{where}{claim}." for (where, claim), ipc in said.items()
    ]
    return Summary(data, sentences, sorted(lines, key=lambda line: line.row.ipc))


def _claim(lines: Sequence[Line], pairs: Sequence[Difference]) -> str:
    """Return what tests say of methods under the same conditions, as the end of a sentence."""
    tested = [line for line in lines if not isnan(line.p)]
    told_apart = [pair for pair in pairs if not isnan(pair.p)]
    if not tested and not told_apart:
        one = max(line.row.accuracy.sets for line in lines) == 1
        seeds = "one distillation seed" if one else "too few distillation seeds in common"
        return f", {seeds}: no test, nothing is called better"
    beyond = [line for line in tested if line.p < SIGNIFICANT]
    above = [line.row.name for line in beyond if (line.over_random or 0.0) > 0]
    below = [line.row.name for line in beyond if line.row.name not in above]
    measure = f"random images beyond noise (p < {SIGNIFICANT}, Holm)"
    parts = [
        f"{_are(names)} {side} {measure}"
        for names, side in ((above, "above"), (below, "below"))
        if names
    ]
    if not parts:
        parts = [f"nothing is above or below {measure}"]
    if untested := [line.row.name for line in lines if isnan(line.p)]:
        parts.append(f"{_are(untested)} not tested against them")
    if len(lines) > 1:
        them = "them" if len(above) == len(lines) else "the methods"
        parts.append(f"between {them} {_pairs(told_apart)}")
    return f" {'; '.join(parts)}"


def _pairs(tested: Sequence[Difference]) -> str:
    """Return which methods are above which others, the same others said once."""
    beaten: dict[str, list[str]] = defaultdict(list)
    for pair in tested:
        if pair.significant:
            better, worse = pair.first, pair.second
            if pair.difference < 0:
                better, worse = worse, better
            beaten[better].append(worse)
    winners: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, others in beaten.items():
        winners[tuple(others)].append(name)
    said = [f"{_are(names)} above {listed(others)}" for others, names in winners.items()]
    return ", ".join(said) or ("nothing is" if tested else "nothing is tested")


def _are(names: Sequence[str]) -> str:
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'}"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence lists them: "a, b and c"."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last

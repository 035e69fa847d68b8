"""Cross-architecture heat maps: how a set made with one network serves others."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddkit.bench.result_rows import Row, conditions
from ddkit.bench.words import accuracy


@dataclass(frozen=True)
class HeatCell:
    """An accuracy, and where it lies between the map's lowest and highest, 0 … 1."""

    text: str
    spread: str
    share: float


@dataclass(frozen=True)
class HeatMap:
    """Methods × evaluation networks; `made_with` says which network each was distilled with."""

    label: str
    found_by: dict[str, list[str]]
    networks: list[str]
    lines: list[tuple[str, str, list[HeatCell | None]]]


def heat_maps(rows: Sequence[Row], made_with: Mapping[str, str]) -> list[HeatMap]:
    """Return a map for each (data, ipc, protocol) that has several networks.

    Args:
        made_with: the network of each run, by the run's key.
    """
    groups: dict[tuple[str, int, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.data, row.ipc, row.protocol, row.recipe].append(row)
    return [
        _heat_map(found, made_with)
        for found in groups.values()
        if len({row.network for row in found}) > 1
    ]


def _heat_map(rows: list[Row], made_with: Mapping[str, str]) -> HeatMap:
    first = rows[0]
    networks = list(dict.fromkeys(row.network for row in rows))
    means = [row.accuracy.mean for row in rows]
    low, span = min(means), (max(means) - min(means)) or 1.0
    by: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by[row.name][row.network] = row

    def cell(row: Row | None) -> HeatCell | None:
        if row is None:
            return None
        mean, _, spread = accuracy(row.accuracy).partition(" ")
        return HeatCell(mean, spread, round((row.accuracy.mean - low) / span, 3))

    lines = []
    for name, found in by.items():
        runs = next(iter(found.values())).runs
        network = made_with.get(runs[0], "") if runs else ""
        lines.append((name, network, [cell(found.get(each)) for each in networks]))
    where = conditions(first.protocol, first.recipe)
    found_by = {"data": [first.data], "ipc": [str(first.ipc)], "protocol": [where]}
    return HeatMap(f"{first.data} · ipc {first.ipc} · {where}", found_by, networks, lines)

"""Methods of a group beside each other: differences, who is highest, who is level beyond noise."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isnan
from statistics import fmean
from typing import Any

from ddkit.bench.measures import significant
from ddkit.bench.ranking import Place
from ddkit.bench.result_rows import BySeed, Difference, Key


def means(values: BySeed, seeds: Sequence[int]) -> list[float]:
    """Return the mean over evaluation seeds for each of these distillation seeds."""
    return [fmean(values[seed]) for seed in seeds]


def mean_difference(first: BySeed, second: BySeed) -> float | None:
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    return fmean(means(first, seeds)) - fmean(means(second, seeds))


def differences_of(values: Mapping[Key, BySeed]) -> list[Difference]:
    """Compare all methods of each group over the distillation seeds that they have in common."""
    groups: dict[tuple[Any, ...], dict[str, BySeed]] = defaultdict(dict)
    for key, found in values.items():
        groups[key.group][shown_name(key, values)] = found
    differences = []
    for group, methods in groups.items():
        seeds = sorted(set.intersection(*(set(found) for found in methods.values())))
        paired = {name: means(found, seeds) for name, found in methods.items()}
        for (first, second), p in significant(paired).items() if seeds else ():
            gap = fmean(paired[first]) - fmean(paired[second])
            differences.append(Difference(group, first, second, gap, p, len(seeds)))
    return differences


def shown_name(key: Key, values: Mapping[Key, BySeed]) -> str:
    """Return a method's name; where it is there with several settings, with a mark of them."""
    alike = [other for other in values if (other.group, other.method) == (key.group, key.method)]
    return key.method if len(alike) == 1 else f"{key.method} #{key.settings[:4]}"


def place_of(key: Key, values: Mapping[Key, BySeed]) -> Place:
    return shown_name(key, values), key.data, key.ipc, key.protocol, key.recipe


def highest_of(values: Mapping[Key, BySeed]) -> set[Key]:
    """Return the keys with the highest mean of their group."""
    means_of = {key: fmean(fmean(found) for found in v.values()) for key, v in values.items()}
    best: dict[tuple[Any, ...], float] = defaultdict(float)
    for key, mean in means_of.items():
        best[key.group] = max(best[key.group], mean)
    return {key for key, mean in means_of.items() if mean == best[key.group]}


def levels_of(
    values: Mapping[Key, BySeed], differences: Sequence[Difference]
) -> dict[Key, bool | None]:
    """Return for each key whether nothing in its group is better beyond noise."""
    level: dict[Key, bool | None] = {}
    for key, found in values.items():
        name = shown_name(key, values)
        tests = [d for d in differences if d.group == key.group and name in (d.first, d.second)]
        beaten = any(
            d.significant and (d.difference < 0) == (d.first == name) and d.difference != 0
            for d in tests
        )
        others = sum(other.group == key.group and other != key for other in values)
        tested = sum(not isnan(d.p) for d in tests) == others and len(found) > 1
        level[key] = False if beaten else True if tested else None
    return level

"""From the store to rows of figures: what tables, plots and pages show."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean
from typing import Any

from ddkit.bench.config import OWN
from ddkit.bench.measures import (
    SIGNIFICANT,
    Spread,
    augmentation_robust_score,
    label_robust_score,
    paired_p,
    significant,
    spread,
)
from ddkit.bench.ranking import Place, Ranking, rankings
from ddkit.bench.store import Store

BySeed = dict[int, list[float]]
"""Accuracies (0 … 1) over evaluation seeds, by distillation seed."""


@dataclass(frozen=True)
class Row:
    """One method under one protocol, with what stands beside it.

    Attributes:
        recipe: what is not as the protocol says; empty where nothing is.
        labels: the kind that networks were trained towards.
        accuracy, random, selection, real: with the same recipe; the last with hard labels.
        over_random, over_selection: differences of the means.
        p_random: of a paired t-test against random images over distillation seeds.
        highest: whether no mean in its group is higher.
        level: whether nothing in its group is better beyond noise; None where that is not known.
        seconds: of pool, synthesis, relabel (a set each, on average) and evaluation (a network).
        peak_bytes: of the synthesis and of the evaluation.
        name: the method, with a mark of its settings where it is there with several.
        tuned: whether a learning rate was chosen on the holdout.
    """

    method: str
    data: str
    ipc: int
    network: str
    protocol: str
    recipe: str
    labels: str
    accuracy: Spread
    random: Spread | None
    selection: Spread | None
    real: Spread | None
    over_random: float | None
    over_selection: float | None
    p_random: float
    highest: bool
    level: bool | None
    learning_rates: tuple[float, ...]
    seconds: dict[str, float]
    peak_bytes: dict[str, int]
    image_bytes: int
    label_bytes: int
    runs: tuple[str, ...]
    name: str
    tuned: bool

    @property
    def group(self) -> tuple[Any, ...]:
        """What is compared with each other: all but the method."""
        return (self.data, self.ipc, self.network, self.protocol, self.recipe)


@dataclass(frozen=True)
class Scores:
    """DD-Ranking's scores of a method, from its rows under several protocols; None: not measured.

    Attributes:
        recovery: hard-label recovery (HLR), acc(real, hard) - acc(set, hard).
        over_random: IOR under the set's own labels.
        lrs, ars: label and augmentation robust score, 0 … 1.
    """

    method: str
    data: str
    ipc: int
    network: str
    recipe: str
    recovery: float | None
    over_random: float | None
    lrs: float | None
    ars: float | None


@dataclass(frozen=True)
class Difference:
    """Two methods of a group: the difference of means, and p after Holm's correction."""

    group: tuple[Any, ...]
    first: str
    second: str
    difference: float
    p: float
    sets: int

    @property
    def significant(self) -> bool:
        return self.p < SIGNIFICANT


@dataclass(frozen=True)
class Results:
    rows: list[Row]
    scores: list[Scores]
    differences: list[Difference]
    rankings: list[Ranking]
    failed: list[tuple[str, str]]


def read_results(store: Store) -> Results:
    """Return all that a store knows; figures of several benches stand side by side."""
    figures = _Figures(store)
    values = {key: figures.accuracies(key, "set") for key in figures.evaluated()}
    differences = _differences(values)
    level, highest = _level(values, differences), _highest(values)
    rows = [
        figures.row(key, _name(key, values), key in highest, level[key]) for key in values
    ]  # fmt: skip
    failed = [
        ("{method} · {data} · ipc {ipc} · seed {seed}".format(**entry.about), entry.error)
        for entry in store.all("cell") if entry.error
    ]  # fmt: skip
    return Results(rows, _scores(rows), differences, figures.rankings(values), failed)


@dataclass(frozen=True, order=True)
class _Key:
    data: str
    ipc: int
    network: str
    protocol: str
    recipe: str
    method: str
    settings: str

    @property
    def group(self) -> tuple[Any, ...]:
        return (self.data, self.ipc, self.network, self.protocol, self.recipe)


class _Figures:
    """The figures of a store, by what they are of."""

    def __init__(self, store: Store):
        self.store = store
        self.sets = {entry.key: entry.result for entry in store.all("set") if entry.result}
        self.evaluations = {entry.key: entry.result for entry in store.all("evaluation")}
        self.tuned = {e.key: bool(e.about.get("tuned")) for e in store.all("evaluation")}
        self.found: dict[_Key, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
        self.runs: dict[_Key, dict[int, list[str]]] = defaultdict(dict)
        for entry in store.all("figure"):
            about = entry.about
            if entry.result is None or entry.result["evaluation"] is None:
                continue
            key = _Key(**{name: about[name] for name in _Key.__dataclass_fields__})
            self.found[key][about["role"]][about["seed"]] = entry.result["evaluation"]
            if about["role"] == "set":
                self.runs[key][about["seed"]] = entry.result["runs"]
        self.real = {
            (entry.about["data"], entry.about["network"], self._precision(entry.key)): entry.key
            for entry in store.all("real")
        }

    def evaluated(self) -> list[_Key]:
        """Return what was evaluated, what is compared side by side; methods as they were asked for.

        The order of the store is that in which workers happened to finish.
        """
        asked = [entry.about for entry in self.store.all("bench")]
        methods = [name for about in asked for name in about.get("methods", ())]
        protocols = [name for about in asked for name in about.get("protocols", ())]

        def place(key: _Key) -> tuple[Any, ...]:
            protocol, method = _rank(protocols, key.protocol), _rank(methods, key.method)
            first = re.match(r"\d*", key.recipe)  # 2 of 10 classes come before 10 of 10
            recipe = int(first[0] or 0) if first else 0, key.recipe
            return key.data, key.ipc, key.network, protocol, recipe, method

        return sorted((key for key in self.found if self.accuracies(key, "set")), key=place)

    def accuracies(self, key: _Key, role: str) -> BySeed:
        found = {
            seed: list(self.store.accuracies(evaluation).values())
            for seed, evaluation in sorted(self.found[key][role].items())
        }
        return {seed: values for seed, values in found.items() if values}

    def rankings(self, values: Mapping[_Key, BySeed]) -> list[Ranking]:
        """Return how each method ranks the networks that it was evaluated on."""
        accuracies = [
            (_place(key, values), key.network, seed, fmean(found))
            for key, by_seed in values.items() for seed, found in by_seed.items()
        ]  # fmt: skip
        real = {
            (_place(key, values), key.network): fmean(self.store.accuracies(found).values())
            for key in values if (found := self._real(key))
        }  # fmt: skip
        return rankings(accuracies, real)

    def _real(self, key: _Key) -> str | None:
        """Return the evaluation on all real data in the precision that a key's set has."""
        precision = self._precision(next(iter(self.found[key]["set"].values())))
        return self.real.get((key.data, key.network, precision))

    def _precision(self, evaluation: str) -> str:
        found: str = (self.evaluations.get(evaluation) or {}).get("precision", "fp32")
        return found

    def row(self, key: _Key, name: str, highest: bool, level: bool | None) -> Row:
        """Return the row of a key, whose set was evaluated."""
        ours, random = self.accuracies(key, "set"), self.accuracies(key, "random")
        selection = self.accuracies(key, "selection")
        real = self._real(key)
        evaluations = [self.evaluations[e] for e in self.found[key]["set"].values()]
        sets = [
            [self.sets[run] for run in runs if run in self.sets]  # several where classes come apart
            for runs in self.runs[key].values()
        ]
        networks = sum(len(values) for values in ours.values())
        seconds = {
            **_stage_seconds(sets),
            "evaluation": sum(e["seconds"] for e in evaluations) / networks,
        }
        common = [seed for seed in ours if seed in random]
        return Row(
            key.method, key.data, key.ipc, key.network, key.protocol, key.recipe,
            evaluations[0]["labels"],
            spread(list(ours.values())),
            spread(list(random.values())) if random else None,
            spread(list(selection.values())) if selection else None,
            spread([list(self.store.accuracies(real).values())]) if real else None,
            _difference(ours, random),
            _difference(ours, selection),
            paired_p(means(ours, common), means(random, common)),
            highest,
            level,
            tuple(sorted({e["learning_rate"] for e in evaluations})),
            seconds,
            {
                "synthesis": _largest(sets, "synthesis_peak_bytes"),
                "evaluation": max(e["peak_bytes"] for e in evaluations),
            },
            max(sum(run["image_bytes"] for run in runs) for runs in sets),
            0 if evaluations[0]["labels"] == "hard"
            else max(sum(run["label_bytes"] for run in runs) for runs in sets),
            tuple(run for runs in self.runs[key].values() for run in runs),
            name,
            any(self.tuned[e] for e in self.found[key]["set"].values()),
        )  # fmt: skip


def _rank(names: Sequence[str], name: str) -> int:
    """Return the place of a name; those that nobody asked for come last."""
    return names.index(name) if name in names else len(names)


def means(values: BySeed, seeds: Sequence[int]) -> list[float]:
    """Return the mean over evaluation seeds for each of these distillation seeds."""
    return [fmean(values[seed]) for seed in seeds]


def _stage_seconds(sets: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Return what each stage took, on average over the sets; the pool is counted whole."""
    names = {
        "pool": "pool_training_seconds", "synthesis": "synthesis_seconds",
        "relabel": "relabel_seconds",
    }  # fmt: skip
    return {
        name: fmean(sum(run["cost"].get(stored, 0.0) for run in runs) for runs in sets)
        for name, stored in names.items()
    }


def _largest(sets: Sequence[Sequence[Mapping[str, Any]]], name: str) -> int:
    return max((run["cost"].get(name, 0) for runs in sets for run in runs), default=0)


def _difference(first: BySeed, second: BySeed) -> float | None:
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    return fmean(means(first, seeds)) - fmean(means(second, seeds))


def _differences(values: Mapping[_Key, BySeed]) -> list[Difference]:
    """Compare all methods of each group over the distillation seeds that they have in common."""
    groups: dict[tuple[Any, ...], dict[str, BySeed]] = defaultdict(dict)
    for key, found in values.items():
        groups[key.group][_name(key, values)] = found
    differences = []
    for group, methods in groups.items():
        seeds = sorted(set.intersection(*(set(found) for found in methods.values())))
        paired = {name: means(found, seeds) for name, found in methods.items()}
        for (first, second), p in significant(paired).items() if seeds else ():
            gap = fmean(paired[first]) - fmean(paired[second])
            differences.append(Difference(group, first, second, gap, p, len(seeds)))
    return differences


def _name(key: _Key, values: Mapping[_Key, BySeed]) -> str:
    """Return a method's name; where it is there with several settings, with a mark of them."""
    alike = [other for other in values if (other.group, other.method) == (key.group, key.method)]
    return key.method if len(alike) == 1 else f"{key.method} #{key.settings[:4]}"


def _place(key: _Key, values: Mapping[_Key, BySeed]) -> Place:
    return _name(key, values), key.data, key.ipc, key.protocol, key.recipe


def _highest(values: Mapping[_Key, BySeed]) -> set[_Key]:
    """Return the keys with the highest mean of their group."""
    means_of = {key: fmean(fmean(found) for found in v.values()) for key, v in values.items()}
    best: dict[tuple[Any, ...], float] = defaultdict(float)
    for key, mean in means_of.items():
        best[key.group] = max(best[key.group], mean)
    return {key for key, mean in means_of.items() if mean == best[key.group]}


def _level(
    values: Mapping[_Key, BySeed], differences: Sequence[Difference]
) -> dict[_Key, bool | None]:
    """Return for each key whether nothing in its group is better beyond noise."""
    level: dict[_Key, bool | None] = {}
    for key, found in values.items():
        name = _name(key, values)
        tests = [d for d in differences if d.group == key.group and name in (d.first, d.second)]
        beaten = any(
            d.significant and (d.difference < 0) == (d.first == name) and d.difference != 0
            for d in tests
        )
        others = sum(other.group == key.group and other != key for other in values)
        tested = sum(not isnan(d.p) for d in tests) == others and len(found) > 1
        level[key] = False if beaten else True if tested else None
    return level


def _scores(rows: Sequence[Row]) -> list[Scores]:
    """Return the scores of each method, from its rows under dsa, plain and its own protocol."""
    groups: dict[tuple[Any, ...], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        groups[(row.name, row.data, row.ipc, row.network, row.recipe)][row.protocol] = row
    scores = []
    for (method, data, ipc, network, recipe), by in groups.items():
        hard, plain, own = by.get("dsa"), by.get("plain"), by.get(OWN)
        recovery = hard.real.mean - hard.accuracy.mean if hard and hard.real else None
        over = own.over_random if own else None
        lrs = ars = None
        if recovery is not None and over is not None:
            lrs = label_robust_score(recovery, over)
        if hard and plain and hard.over_random is not None and plain.over_random is not None:
            ars = augmentation_robust_score(hard.over_random, plain.over_random)
        scores.append(Scores(method, data, ipc, network, recipe, recovery, over, lrs, ars))
    return scores

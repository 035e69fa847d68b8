"""From the store to rows of figures: what tables, plots and pages show."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ddkit.bench.comparing import (
    differences_of,
    highest_of,
    levels_of,
    mean_difference,
    means,
    place_of,
    shown_name,
)
from ddkit.bench.measures import augmentation_robust_score, label_robust_score, paired_p, spread
from ddkit.bench.notes import notes_of
from ddkit.bench.ranking import Ranking, rankings
from ddkit.bench.result_rows import BySeed, Difference, Key, Row, Scores
from ddkit.bench.store import Store
from ddkit.methods.own import OWN
from ddkit.methods.published import Beside, Told

EARLIER = "by an earlier ddkit"


@dataclass(frozen=True)
class Results:
    """What a store knows; `notes` are sentences on the data, which figures must be read with."""

    rows: list[Row]
    scores: list[Scores]
    differences: list[Difference]
    rankings: list[Ranking]
    failed: list[tuple[str, str]]
    notes: list[str]


def read_results(store: Store) -> Results:
    """Return all that a store knows; figures of several benches stand side by side."""
    figures = _Figures(store)
    values = {key: figures.accuracies(key, "set") for key in figures.evaluated()}
    differences = differences_of(values)
    level, highest = levels_of(values, differences), highest_of(values)
    rows = [figures.row(key, shown_name(key, values), key in highest, level[key]) for key in values]
    failed = [
        ("{method} · {data} · ipc {ipc} · seed {seed}".format(**entry.about), entry.error)
        for entry in store.all("cell")
        if entry.error
    ]
    compared = figures.rankings(values)
    return Results(rows, _scores(rows), differences, compared, failed, notes_of(store))


class _Figures:
    """The figures of a store, by what they are of."""

    def __init__(self, store: Store):
        self.store = store
        self.sets = {entry.key: entry.result for entry in store.all("set") if entry.result}
        self.found: dict[Key, dict[str, dict[int, Any]]] = defaultdict(lambda: defaultdict(dict))
        self.runs: dict[Key, dict[int, list[str]]] = defaultdict(dict)
        self.said: dict[Key, dict[str, Any]] = {}
        figures = list(store.evaluated("figure"))
        newest = max((entry.result["evaluation"]["version"] for entry in figures), default=0)
        for entry in figures:
            about, found = entry.about, entry.result["evaluation"]
            names = {name: about[name] for name in Key.__dataclass_fields__}
            if found["version"] < newest:  # it stands beside later ones and is not mixed with them
                names["recipe"] = ", ".join(filter(None, [names["recipe"], EARLIER]))
            key = Key(**names)
            self.found[key][about["role"]][about["seed"]] = found
            if about["role"] == "set":
                self.runs[key][about["seed"]] = entry.result["runs"]
                self.said[key] = entry.result
        self.real = {
            (e.about["data"], e.about["network"], *_measured_in(found)): found["accuracies"]
            for e in store.evaluated("real")
            if (found := e.result["evaluation"])
        }

    def evaluated(self) -> list[Key]:
        """Return what was evaluated, what is compared side by side, in the order asked for.

        The order of the store is that in which workers happened to finish.
        """
        asked = [entry.about for entry in self.store.all("bench")]
        methods = [name for about in asked for name in about.get("methods", ())]
        networks = [name for about in asked for name in about.get("networks", ())]
        protocols = [name for about in asked for name in about.get("protocols", ())]

        def place(key: Key) -> tuple[Any, ...]:
            protocol, method = _rank(protocols, key.protocol), _rank(methods, key.method)
            first = re.match(r"\d*", key.recipe)  # 2 of 10 classes come before 10 of 10
            recipe = int(first[0] or 0) if first else 0, key.recipe
            network = _rank(networks, key.network), key.network
            return key.data, key.ipc, network, protocol, recipe, method

        return sorted((key for key in self.found if self.found[key]["set"]), key=place)

    def accuracies(self, key: Key, role: str) -> BySeed:
        return {seed: found["accuracies"] for seed, found in sorted(self.found[key][role].items())}

    def rankings(self, values: Mapping[Key, BySeed]) -> list[Ranking]:
        """Return how each method ranks the networks that it was evaluated on."""
        accuracies = [
            (place_of(key, values), key.network, seed, fmean(found))
            for key, by_seed in values.items()
            for seed, found in by_seed.items()
        ]
        real = {
            (place_of(key, values), key.network): fmean(found)
            for key in values
            if (found := self._real(key))
        }
        return rankings(accuracies, real)

    def _real(self, key: Key) -> list[float] | None:
        """Return what all real data reach, measured in the way in which a key's set was."""
        ours = next(iter(self.found[key]["set"].values()))
        return self.real.get((key.data, key.network, *_measured_in(ours)))

    def row(self, key: Key, name: str, highest: bool, level: bool | None) -> Row:
        """Return the row of a key, whose set was evaluated."""
        ours, random = self.accuracies(key, "set"), self.accuracies(key, "random")
        selection = self.accuracies(key, "selection")
        real = self._real(key)
        evaluations = list(self.found[key]["set"].values())
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
            *key.group,
            key.method,
            evaluations[0]["labels"],
            spread(list(ours.values())),
            spread(list(random.values())) if random else None,
            spread(list(selection.values())) if selection else None,
            spread([real]) if real else None,
            mean_difference(ours, random),
            mean_difference(ours, selection),
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
            0
            if evaluations[0]["labels"] == "hard"
            else max(sum(run["label_bytes"] for run in runs) for runs in sets),
            tuple(run for runs in self.runs[key].values() for run in runs),
            name,
            any(e["tuned"] for e in evaluations),
            next((e["learned_on"] for e in evaluations if e.get("note")), None),
            self.said[key].get("own_recipe", ""),
            _published(self.said[key], [each for found in ours.values() for each in found]),
            self.said[key].get("factor", 1),
        )


def _published(said: Mapping[str, Any], accuracies: Sequence[float]) -> Beside | None:
    told = said.get("published")
    return Told.of_json(told).beside(accuracies) if told else None


def _measured_in(evaluation: Mapping[str, Any]) -> tuple[str, int]:
    return evaluation.get("precision", "fp32"), evaluation["version"]


def _rank(names: Sequence[str], name: str) -> int:
    """Return the place of a name; those that nobody asked for come last."""
    return names.index(name) if name in names else len(names)


def _stage_seconds(sets: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Return what each stage took, on average over the sets; the pool is counted whole."""
    names = {
        "pool": "pool_training_seconds",
        "synthesis": "synthesis_seconds",
        "relabel": "relabel_seconds",
    }
    return {
        name: fmean(sum(run["cost"].get(stored, 0.0) for run in runs) for runs in sets)
        for name, stored in names.items()
    }


def _largest(sets: Sequence[Sequence[Mapping[str, Any]]], name: str) -> int:
    return max((run["cost"].get(name, 0) for runs in sets for run in runs), default=0)


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

"""What a report shows: rows of figures, scores, differences."""

from dataclasses import dataclass
from typing import Any

from ddkit.bench.measures import SIGNIFICANT, Spread
from ddkit.methods.own import OWN
from ddkit.methods.published import Beside

BySeed = dict[int, list[float]]
"""Accuracies (0 … 1) over evaluation seeds, by distillation seed."""


@dataclass(frozen=True)
class Conditions:
    """What methods are compared under."""

    data: str
    ipc: int
    network: str
    protocol: str
    recipe: str

    @property
    def group(self) -> tuple[str, int, str, str, str]:
        """What is compared with each other: all but the method."""
        return (self.data, self.ipc, self.network, self.protocol, self.recipe)


@dataclass(frozen=True)
class Row(Conditions):
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
        learned_on: the network that learning rates were learned for, where it is another one.
        own_recipe: what the method's own recipe is, where it is trained by it.
        factor: of the multi-formation of the set, of random images and of the selection.
        published: what a paper reports of it, beside all networks of all sets.
    """

    method: str
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
    learned_on: str | None = None
    own_recipe: str = ""
    published: Beside | None = None
    factor: int = 1


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
class Key(Conditions):
    """A method with its settings; seeds and what stands beside it share the key."""

    method: str
    settings: str


def recipe_name(protocol: str) -> str:
    """Return whose recipe networks are trained by, in words."""
    return "own recipe" if protocol == OWN else f"common recipe {protocol}"


def conditions(protocol: str, recipe: str) -> str:
    """Return a recipe in words, with what is not as there."""
    return ", ".join(filter(None, [recipe_name(protocol), recipe]))

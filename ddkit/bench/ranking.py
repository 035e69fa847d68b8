"""Architecture ranking: do networks come in the same order on a distilled set as on all data?

As APM, section 4.5: Spearman's correlation between the accuracies of a family of networks trained
on the set and on all real data. The family is small ConvNets, along the axes of DC's search space.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from math import nan

FAMILY = tuple(
    f"convnet:depth={depth}:norm={norm}:width={width}"
    for depth, norm, width in product((1, 2, 3), ("none", "instance", "group", "batch"), (16, 64))
)


Place = tuple[str, str, int, str, str]
"""Method, data, ipc, protocol, recipe."""


@dataclass(frozen=True)
class Ranking:
    """How well a method's sets rank networks.

    Attributes:
        correlations: Spearman's ρ, -1 … 1, one per distillation seed; NaN where all are equal.
        networks: how many were ranked.
    """

    method: str
    data: str
    ipc: int
    protocol: str
    recipe: str
    correlations: tuple[float, ...]
    networks: int


def rankings(
    accuracies: Iterable[tuple[Place, str, int, float]], real: dict[tuple[Place, str], float]
) -> list[Ranking]:
    """Return the rankings of all methods.

    Args:
        accuracies: (place, network, distillation seed, accuracy).
        real: by (place, network), the accuracy on all real data.
    """
    found: dict[Place, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for key, network, seed, accuracy in accuracies:
        if (key, network) in real:
            found[key][seed][network] = accuracy
    ranked = []
    for key, seeds in found.items():
        correlations, counts = [], []
        for by_network in seeds.values():
            truth = [real[key, network] for network in by_network]
            correlations.append(correlation(list(by_network.values()), truth))
            counts.append(len(by_network))
        if min(counts) > 2:  # two networks are always in order, or in reverse
            ranked.append(Ranking(*key, correlations=tuple(correlations), networks=min(counts)))
    return ranked


def correlation(first: list[float], second: list[float]) -> float:
    """Return Spearman's ρ, ties at their mean rank; NaN where all values of one are equal."""
    from scipy.stats import spearmanr  # a second to import

    if len(set(first)) == 1 or len(set(second)) == 1:
        return nan
    return float(spearmanr(first, second).statistic)

"""Scores and tests, as plain functions of accuracies (fractions, 0 … 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import e, exp, isnan, nan
from statistics import fmean, stdev
from typing import TypeVar

T = TypeVar("T")
SIGNIFICANT = 0.05
ROUNDING = 1e-12  # of differences of means


@dataclass(frozen=True)
class Spread:
    """Accuracies over distillation seeds, and over evaluation seeds for each of them.

    Attributes:
        mean: over all networks.
        between: standard deviation of the means of the distilled sets (n - 1); NaN for one set.
        within: standard deviation over evaluation seeds, pooled over the sets; NaN for one each.
        sets, networks: how many sets, and how many networks on each at least.
    """

    mean: float
    between: float
    within: float
    sets: int
    networks: int


def spread(accuracies: Sequence[Sequence[float]]) -> Spread:
    """Return the spread of accuracies by distilled set, each over its evaluation seeds."""
    means = [fmean(found) for found in accuracies]
    repeated = [stdev(found) ** 2 for found in accuracies if len(found) > 1]
    return Spread(
        fmean(means),
        stdev(means) if len(means) > 1 else nan,
        fmean(repeated) ** 0.5 if repeated else nan,
        len(accuracies),
        min(len(found) for found in accuracies),
    )


def label_robust_score(recovery: float, over_random: float, weight: float = 0.5) -> float:
    """Return LRS, 0 … 1 (DD-Ranking).

    Args:
        recovery: hard-label recovery, acc(real, hard) - acc(set, hard): less is better.
        over_random: acc(set) - acc(random images), both under the method's own recipe.
        weight: λ, of the latter.
    """
    return _normalised(weight * over_random - (1 - weight) * recovery)


def augmentation_robust_score(with_it: float, without: float, weight: float = 0.5) -> float:
    """Return ARS, 0 … 1 (DD-Ranking).

    Args:
        with_it, without: acc(set) - acc(random images), with the same labels, where networks train
            with and without augmentation.
        weight: γ, of the former.
    """
    return _normalised(weight * with_it + (1 - weight) * without)


def _normalised(score: float) -> float:
    """Map -1 … 1 to 0 … 1, monotonously: (e^α - e^-1) / (e - e^-1)."""
    return (exp(score) - exp(-1)) / (e - exp(-1))


def paired_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of a paired t-test over distillation seeds.

    Pairs have a seed in common, and so their initial images. 1 where all are equal; NaN for fewer
    than two pairs, and where all differences are the same: accuracies are shares of a finite test
    set, so that two seeds may agree by chance, which says nothing of how much they vary.
    """
    from scipy.stats import ttest_rel  # a second to import

    if len(first) < 2:
        return nan
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if max(differences) - min(differences) < ROUNDING:
        return 1.0 if abs(differences[0]) < ROUNDING else nan
    return float(ttest_rel(first, second).pvalue)


def significant(values: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], float]:
    """Return, for each pair of methods, p after Holm's correction for all these pairs.

    Args:
        values: by method, the mean accuracy of each distillation seed, seeds in one order.
    """
    found = {
        (a, b): paired_p(values[a], values[b])
        for a, b in combinations(values, 2)
        if len(values[a]) == len(values[b])
    }
    return holm(found)


def holm(found: Mapping[T, float]) -> dict[T, float]:
    """Return the p of several tests after Holm's correction for all of them; NaN is no test."""
    corrected, highest = dict(found), 0.0
    known = sorted((key for key in found if not isnan(found[key])), key=found.__getitem__)
    for rank, key in enumerate(known):
        highest = max(highest, min(1.0, found[key] * (len(known) - rank)))
        corrected[key] = highest
    return corrected

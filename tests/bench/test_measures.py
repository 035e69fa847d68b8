"""Scores and tests against numbers worked out by hand, numpy, scipy and their definitions."""

from itertools import combinations
from math import exp, isnan, nan, sqrt

import numpy as np
import pytest
import torch
from scipy import stats

from ddkit.bench import measures
from ddkit.bench.measures import (
    augmentation_robust_score,
    label_robust_score,
    paired_p,
    significant,
    spread,
)


def noise(*shape: int, seed: int = 0) -> list:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double().tolist()


def test_the_label_robust_score_is_that_of_dd_rankings_formula():
    assert label_robust_score(0.30, 0.05) == pytest.approx(0.219, abs=5e-4)
    alpha = 0.2 * 0.05 - 0.8 * 0.30  # with another weight, written out
    by_hand = (exp(alpha) - exp(-1)) / (exp(1) - exp(-1))
    assert label_robust_score(0.30, 0.05, weight=0.2) == pytest.approx(by_hand)


def test_the_label_robust_score_goes_from_0_to_1_and_rewards_what_is_better():
    assert label_robust_score(1, -1) == 0
    assert label_robust_score(-1, 1) == 1
    assert label_robust_score(0.2, 0.05) > label_robust_score(0.3, 0.05)
    assert label_robust_score(0.3, 0.10) > label_robust_score(0.3, 0.05)


def test_the_augmentation_robust_score_is_that_of_dd_rankings_formula():
    beta = 0.5 * 0.12 + 0.5 * 0.04  # 0.08
    by_hand = (2.718281828**beta - 0.367879441) / (2.718281828 - 0.367879441)
    assert augmentation_robust_score(0.12, 0.04) == pytest.approx(by_hand, abs=1e-8)
    assert augmentation_robust_score(0.12, 0.04, weight=1) == augmentation_robust_score(0.12, 0.12)
    assert augmentation_robust_score(0, 0) == pytest.approx((1 - exp(-1)) / (exp(1) - exp(-1)))


def test_the_spread_parts_sets_from_networks_as_numpy_does():
    found = noise(4, 3)
    summary = spread(found)
    assert summary.mean == pytest.approx(np.mean(found))
    assert summary.between == pytest.approx(np.std(np.mean(found, axis=1), ddof=1))
    assert summary.within == pytest.approx(np.sqrt(np.mean(np.var(found, axis=1, ddof=1))))
    assert (summary.sets, summary.networks) == (4, 3)


def test_sets_count_alike_however_many_networks_were_trained_on_each():
    summary = spread([[0.2, 0.4], [0.5, 0.6, 0.7, 0.8]])
    assert summary.mean == pytest.approx((0.3 + 0.65) / 2)
    assert (summary.sets, summary.networks) == (2, 2)


@pytest.mark.parametrize(
    ("accuracies", "between_known", "within_known"),
    [([[0.5]], False, False), ([[0.5, 0.6]], False, True), ([[0.5], [0.6]], True, False)],
)
def test_a_deviation_of_one_value_is_not_known(accuracies, between_known, within_known):
    summary = spread(accuracies)
    assert isnan(summary.between) is not between_known
    assert isnan(summary.within) is not within_known


def test_the_paired_test_is_that_of_scipy_and_the_t_of_a_textbook():
    first, second = [0.70, 0.74, 0.75], [0.68, 0.70, 0.69]  # differences 0.02, 0.04, 0.06
    t = 0.04 / (0.02 / sqrt(3))  # mean / (sd / √n)
    tail = 0.5 * (1 - t / sqrt(t**2 + 2))  # Student's distribution with 2 degrees of freedom
    assert paired_p(first, second) == pytest.approx(2 * tail)
    assert paired_p(first, second) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert paired_p(second, first) == pytest.approx(paired_p(first, second))
    assert paired_p(first, second) != pytest.approx(stats.ttest_ind(first, second).pvalue)


def test_a_pair_alone_says_nothing():
    assert isnan(paired_p([0.5], [0.9]))
    assert isnan(paired_p([], []))


def test_equal_values_are_level_and_equal_differences_allow_no_test():
    assert paired_p([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]) == 1
    assert isnan(paired_p([0.5, 0.75, 0.25], [0.25, 0.5, 0.0]))


@pytest.mark.filterwarnings("error")
def test_differences_that_are_equal_but_for_rounding_are_equal():
    assert isnan(paired_p([0.80, 0.82, 0.81], [0.50, 0.52, 0.51]))  # 0.30, but for the last bits
    assert paired_p([0.1 + 0.2, 0.5], [0.3, 0.5]) == 1


def test_values_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match="longer"):
        paired_p([0.5, 0.6], [0.5, 0.6, 0.7])


def test_holms_correction_is_that_of_a_worked_example(monkeypatch):
    given = {("a", "b"): 0.01, ("a", "c"): 0.04, ("b", "c"): 0.03}
    monkeypatch.setattr(measures, "paired_p", lambda first, second: given[first[0], second[0]])
    found = significant({name: [name] for name in "abc"})
    # by size: 0.01 · 3, 0.03 · 2, 0.04 · 1, none below the one before
    assert found == pytest.approx({("a", "b"): 0.03, ("b", "c"): 0.06, ("a", "c"): 0.06})


def slow_holm(p: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """p̃ of each, by the definition: the largest of (m - k + 1) p(k) up to its own rank, up to 1."""
    ranked = sorted(p.values())
    count = len(ranked)
    return {
        pair: min(1.0, max((count - k) * ranked[k] for k in range(ranked.index(value) + 1)))
        for pair, value in p.items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_holms_correction_is_that_of_its_definition(seed):
    values = dict(zip("abcde", noise(5, 4, seed=seed), strict=True))
    plain = {pair: paired_p(values[pair[0]], values[pair[1]]) for pair in combinations(values, 2)}
    assert significant(values) == pytest.approx(slow_holm(plain))


def test_methods_that_are_the_same_are_never_different():
    level, other = [0.5, 0.6, 0.7], [0.9, 0.8, 0.95]
    found = significant({"a": level, "b": level, "c": other})
    assert found["a", "b"] == 1
    assert found["a", "c"] == found["b", "c"] < 1


def test_one_seed_gives_no_test_and_two_methods_no_correction():
    assert all(isnan(p) for p in significant({"a": [0.1], "b": [0.9], "c": [0.5]}).values())
    first, second = noise(2, 4)
    assert significant({"a": first, "b": second})["a", "b"] == paired_p(first, second)


def test_an_unknown_p_takes_no_part_in_the_correction(monkeypatch):
    given = {("a", "b"): 0.01, ("a", "c"): nan, ("b", "c"): 0.02}
    monkeypatch.setattr(measures, "paired_p", lambda first, second: given[first[0], second[0]])
    found = significant({name: [name] for name in "abc"})
    assert found["a", "b"] == pytest.approx(0.02)
    assert found["b", "c"] == pytest.approx(0.02)
    assert isnan(found["a", "c"])

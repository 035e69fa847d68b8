"""Rows, differences and scores against figures worked out by hand, from a store filled by hand."""

from math import atan, exp, isnan, pi, sqrt
from statistics import fmean

import pytest

from ddkit.bench.result_rows import Row
from ddkit.bench.results import read_results
from ddkit.bench.store import Store
from ddkit.evaluation.units import VERSION
from ddkit.runtime.cache import stable_hash

COST = {
    "pool_training_seconds": 8.0,
    "synthesis_seconds": 2.0,
    "relabel_seconds": 1.0,
    "synthesis_peak_bytes": 1000,
}


class Filled:
    """A store and short ways to put figures into it."""

    def __init__(self, folder):
        self.store = Store(folder)

    def evaluation(self, accuracies, **figures) -> dict:
        result = {"labels": "hard", "learning_rate": 0.01, "seconds": 6.0, "peak_bytes": 50}
        same = {"accuracies": list(accuracies), "tuned": False, "version": VERSION}
        return result | same | figures

    def figure(self, accuracies, *, seed=0, role="set", evaluation=None, figures=None, **about):
        where = {
            "method": "m",
            "data": "d",
            "ipc": 1,
            "network": "n",
            "protocol": "dsa",
            "recipe": "",
            "seed": seed,
            "role": role,
            **about,
        }
        run = f"{where['method']} {seed}"
        where |= {"run": run, "settings": about.get("settings", where["method"])}
        if role == "set":
            result = {"image_bytes": 640, "label_bytes": 40, "cost": COST, "labels": "hard"}
            self.store.put("set", run, {}, result)
        key = stable_hash(where)
        if evaluation is None:
            evaluation = self.evaluation(accuracies, **(figures or {}))
        self.store.put("figure", key, where, {"evaluation": evaluation, "runs": [run]})
        return evaluation

    def real(self, accuracies, data="d", network="n", **figures):
        key = stable_hash(["real", network, figures])
        about = {"data": data, "network": network}
        result = {"evaluation": self.evaluation(accuracies, **figures), "runs": []}
        self.store.put("real", key, about, result)

    @property
    def rows(self) -> list[Row]:
        return read_results(self.store).rows


@pytest.fixture
def filled(folder) -> Filled:
    return Filled(folder)


def test_sets_stand_beside_all_real_data_of_their_own_precision(filled):
    for recipe, precision, real in (("", "tf32", 0.8), ("precision fp32", "fp32", 0.9)):
        filled.figure([0.5], recipe=recipe, figures={"precision": precision})
        filled.real([real], precision=precision)
    assert {row.recipe: row.real.mean for row in filled.rows} == {"": 0.8, "precision fp32": 0.9}


def test_an_empty_store_has_no_rows(filled):
    found = read_results(filled.store)
    assert (found.rows, found.scores, found.differences, found.failed) == ([], [], [], [])


def test_a_row_is_what_is_worked_out_by_hand(filled):
    filled.figure([0.50, 0.60], seed=0)
    filled.figure([0.70, 0.74], seed=1)
    filled.figure([0.40, 0.44], seed=0, role="random")
    filled.figure([0.50, 0.60], seed=1, role="random")
    filled.figure([0.30, 0.34], seed=0, role="selection")
    filled.figure([0.40, 0.44], seed=1, role="selection")
    filled.real([0.90, 0.94])
    (row,) = filled.rows
    assert (row.method, row.data, row.ipc, row.network, row.protocol) == ("m", "d", 1, "n", "dsa")
    assert row.accuracy.mean == pytest.approx(0.635)  # (0.55 + 0.72) / 2
    assert row.accuracy.between == pytest.approx(0.17 / sqrt(2))
    assert row.accuracy.within == pytest.approx(sqrt((0.1**2 / 2 + 0.04**2 / 2) / 2))
    assert (row.accuracy.sets, row.accuracy.networks) == (2, 2)
    assert row.random.mean == pytest.approx(0.485)
    assert row.over_random == pytest.approx(0.15)
    assert row.over_selection == pytest.approx(0.265)
    assert row.real.mean == pytest.approx(0.92)
    assert row.real.sets == 1
    assert isnan(row.real.between)
    # differences 0.13 and 0.17: t = 0.15 / (0.02828 / √2) = 7.5, one degree of freedom
    assert row.p_random == pytest.approx(1 - 2 / pi * atan(7.5))


def test_costs_are_those_of_a_set_and_of_a_network(filled):
    for seed in (0, 1):
        filled.figure([0.5, 0.6, 0.7], seed=seed, figures={"seconds": 6.0 + 3 * seed})
    (row,) = filled.rows
    assert row.seconds == {
        "pool": 8.0,
        "synthesis": 2.0,
        "relabel": 1.0,
        "evaluation": pytest.approx(15 / 6),
    }
    assert row.peak_bytes == {"synthesis": 1000, "evaluation": 50}
    assert (row.image_bytes, row.label_bytes) == (640, 0)  # hard labels are the classes


def test_labels_cost_bytes_where_they_are_used(filled):
    filled.figure([0.5], protocol="own", figures={"labels": "soft", "learning_rate": 0.3})
    (row,) = filled.rows
    assert (row.labels, row.label_bytes, row.learning_rates) == ("soft", 40, (0.3,))


def test_over_random_is_over_the_seeds_that_both_have(filled):
    for seed, value in enumerate((0.5, 0.6, 0.9)):
        filled.figure([value], seed=seed)
    filled.figure([0.4], seed=0, role="random")
    filled.figure([0.4], seed=1, role="random")
    (row,) = filled.rows
    assert row.accuracy.mean == pytest.approx(fmean((0.5, 0.6, 0.9)))
    assert row.over_random == pytest.approx(0.15)


def test_what_stands_not_beside_it_is_unknown(filled):
    filled.figure([0.5, 0.6])
    (row,) = filled.rows
    assert (row.random, row.selection, row.real) == (None, None, None)
    assert (row.over_random, row.over_selection) == (None, None)
    assert isnan(row.p_random)
    assert row.level is None


def test_baselines_without_a_set_are_no_row(filled):
    filled.figure([0.4], role="random")
    assert filled.rows == []
    filled.store.put(
        "figure",
        "none",
        {
            "method": "m",
            "data": "d",
            "ipc": 1,
            "network": "n",
            "protocol": "l1",
            "recipe": "",
            "settings": "m",
            "seed": 0,
            "role": "set",
        },
        {"evaluation": None, "runs": []},
    )
    assert filled.rows == []


def test_a_hard_labelled_sets_own_row_shows_the_evaluation_under_dsa(filled):
    key = filled.figure([0.5, 0.6], protocol="dsa")
    filled.figure(None, protocol="own", evaluation=key)
    dsa, own = filled.rows
    assert (dsa.protocol, own.protocol) == ("dsa", "own")
    assert own.accuracy == dsa.accuracy
    assert own.labels == "hard"


def fill_methods(filled: Filled, **by_seed) -> None:
    for method, values in by_seed.items():
        for seed, value in enumerate(values):
            filled.figure([value], method=method, seed=seed)


def test_a_method_is_level_unless_another_is_better_beyond_noise(filled):
    fill_methods(filled, best=(0.80, 0.82, 0.81), near=(0.79, 0.83, 0.80), far=(0.50, 0.53, 0.51))
    found = read_results(filled.store)
    assert {row.method: row.level for row in found.rows} == {
        "best": True,
        "near": True,
        "far": False,
    }
    pairs = {(d.first, d.second): d for d in found.differences}
    assert pairs["best", "far"].significant
    assert pairs["best", "far"].difference == pytest.approx(0.89 / 3)
    assert not pairs["best", "near"].significant
    assert pairs["best", "near"].sets == 3


def test_one_seed_says_nothing_of_being_level(filled):
    fill_methods(filled, best=(0.8,), far=(0.1,))
    assert [row.level for row in filled.rows] == [None, None]
    (difference,) = read_results(filled.store).differences
    assert isnan(difference.p)
    assert not difference.significant


def test_a_method_that_has_one_seed_yet_leaves_open_who_is_level(filled):
    fill_methods(filled, first=(0.8, 0.81, 0.82), second=(0.9,))
    assert [row.level for row in filled.rows] == [None, None]


def test_only_what_is_under_the_same_conditions_is_compared(filled):
    for about in (
        {},
        {"protocol": "plain"},
        {"recipe": "3 epochs"},
        {"network": "other"},
        {"ipc": 2},
        {"data": "e"},
    ):
        filled.figure([0.5], method="one", **about)
        filled.figure([0.6], method="two", **about)
    found = read_results(filled.store)
    assert len(found.rows) == 12
    assert len(found.differences) == 6
    assert len({d.group for d in found.differences}) == 6


def test_benches_with_other_epochs_are_rows_of_their_own(filled):
    filled.figure([0.5], recipe="3 epochs")
    filled.figure([0.9])
    rows = filled.rows
    assert [(row.recipe, row.accuracy.mean) for row in rows] == [("", 0.9), ("3 epochs", 0.5)]
    assert [row.name for row in rows] == ["m", "m"]
    assert rows[0].group != rows[1].group


def test_a_method_with_several_settings_has_a_mark_at_each(filled):
    filled.figure([0.5], settings="aaaa1")
    filled.figure([0.6], settings="bbbb1", seed=1)
    assert [row.name for row in filled.rows] == ["m #aaaa", "m #bbbb"]


def test_tuned_rates_are_marked_and_listed(filled):
    for seed, rate in enumerate((0.1, 0.03)):
        filled.figure([0.5], seed=seed, figures={"learning_rate": rate, "tuned": True})
    (row,) = filled.rows
    assert (row.tuned, row.learning_rates) == (True, (0.03, 0.1))


def lrs(value: float) -> float:
    return (exp(value) - exp(-1)) / (exp(1) - exp(-1))


def test_scores_are_those_of_the_rows(filled):
    figures = {"dsa": (0.60, 0.55), "plain": (0.50, 0.49), "own": (0.70, 0.65)}
    for protocol, (ours, random) in figures.items():
        filled.figure([ours], protocol=protocol)
        filled.figure([random], protocol=protocol, role="random")
    filled.real([0.90])
    (score,) = read_results(filled.store).scores
    assert score.recovery == pytest.approx(0.30)
    assert score.over_random == pytest.approx(0.05)
    assert score.lrs == pytest.approx(0.219, abs=5e-4)
    assert score.ars == pytest.approx(lrs(0.5 * 0.05 + 0.5 * 0.01))


@pytest.mark.parametrize(
    ("protocols", "real", "known"),
    [
        (("dsa", "own"), True, {"recovery", "over_random", "lrs"}),
        (("dsa", "own"), False, {"over_random"}),
        (("dsa", "plain"), True, {"recovery", "ars"}),
        (("own",), True, {"over_random"}),
        (("plain",), True, set()),
    ],
)
def test_scores_without_their_rows_are_unknown(filled, protocols, real, known):
    for protocol in protocols:
        filled.figure([0.6], protocol=protocol)
        filled.figure([0.5], protocol=protocol, role="random")
    if real:
        filled.real([0.9])
    (score,) = read_results(filled.store).scores
    names = ("recovery", "over_random", "lrs", "ars")
    assert {name for name in names if getattr(score, name) is not None} == known


def test_what_failed_is_listed_with_its_line(filled):
    about = {"method": "m", "data": "d", "ipc": 1, "seed": 3}
    filled.store.fail("cell", "a", about, "the disk is full")
    filled.store.put("cell", "b", about | {"seed": 4}, {"seconds": 1})
    assert read_results(filled.store).failed == [("m · d · ipc 1 · seed 3", "the disk is full")]


def test_rows_are_in_the_order_that_was_asked_for_and_not_that_of_the_store(filled):
    asked = {"methods": ["two", "one"], "protocols": ["plain", "dsa"]}
    filled.store.put("bench", "key", asked, {})
    for ipc in (10, 1):
        for protocol in ("dsa", "plain"):
            for method in ("other", "one", "two"):
                filled.figure([0.5], method=method, protocol=protocol, ipc=ipc)
    found = [(row.ipc, row.protocol, row.method) for row in filled.rows]
    assert found == [
        (ipc, protocol, method)
        for ipc in (1, 10)
        for protocol in ("plain", "dsa")
        for method in ("two", "one", "other")
    ]

"""Rankings of networks: Spearman's ρ by hand, from a store filled by hand, and the family."""

from math import isnan

import pytest
import torch
from scipy.stats import spearmanr

from ddkit import networks
from ddkit.bench.config import read_config
from ddkit.bench.ranking import FAMILY, correlation, rankings
from ddkit.bench.results import read_results
from ddkit.bench.store import Store
from ddkit.evaluation.units import VERSION

PLACE = ("m", "d", 1, "dsa", "")


def test_it_is_spearmans_and_that_of_scipy():
    first, second = [0.1, 0.4, 0.2, 0.9, 0.5], [0.3, 0.2, 0.6, 0.8, 0.7]
    # ranks 1 3 2 5 4 and 2 1 3 5 4: 1 - 6 (1 + 4 + 1) / (5 · 24)
    assert correlation(first, second) == pytest.approx(0.7)
    assert correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_ties_have_their_mean_rank():
    first, second = [0.1, 0.2, 0.2, 0.4], [0.1, 0.2, 0.3, 0.4]
    # ranks 1 2.5 2.5 4 and 1 2 3 4: covariance 4.5, squares 4.5 and 5
    assert correlation(first, second) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_only_the_order_matters():
    assert correlation([0.1, 0.2, 0.9], [0.5, 0.51, 0.52]) == pytest.approx(1)
    assert correlation([0.9, 0.2, 0.1], [0.5, 0.51, 0.52]) == pytest.approx(-1)


@pytest.mark.filterwarnings("error")
def test_networks_that_are_all_alike_have_no_order():
    assert isnan(correlation([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]))
    assert isnan(correlation([0.1, 0.2, 0.3], [0.5, 0.5, 0.5]))


def test_there_is_one_correlation_per_distillation_seed():
    real = {(PLACE, "a"): 0.7, (PLACE, "b"): 0.8, (PLACE, "c"): 0.9}
    accuracies = [(PLACE, network, 0, value) for network, value in (("a", 1), ("b", 2), ("c", 3))]
    accuracies += [(PLACE, network, 1, value) for network, value in (("c", 1), ("a", 3), ("b", 2))]
    (found,) = rankings(accuracies, real)
    assert found.correlations == pytest.approx((1.0, -1.0))
    assert (found.method, found.data, found.ipc, found.networks) == ("m", "d", 1, 3)


def test_networks_without_a_figure_on_all_data_are_left_out():
    other = ("m", "e", *PLACE[2:])
    real = {(PLACE, "a"): 0.7, (PLACE, "b"): 0.8, (PLACE, "c"): 0.9, (other, "x"): 0.1}
    accuracies = [(PLACE, network, 0, value) for value, network in enumerate("axbc")]
    (found,) = rankings(accuracies, real)
    assert (found.networks, found.correlations) == (3, pytest.approx((1.0,)))


def test_two_networks_are_no_ranking():
    other = (*PLACE[:3], "plain", "")
    real = {(place, name): value for place in (PLACE, other) for value, name in enumerate("abc")}
    two = [(PLACE, network, 0, value) for value, network in enumerate("ab")]
    assert rankings(two, real) == []
    assert rankings([], real) == []
    three = [(other, network, 0, value) for value, network in enumerate("abc")]
    assert [found.protocol for found in rankings(two + three, real)] == ["plain"]


@pytest.fixture
def filled(folder):
    """Return a store, and a function that adds the accuracies of some networks to it."""
    store = Store(folder)

    def fill(accuracies: dict[str, list[float]], seed=0, settings="m", method="m"):
        for network, values in accuracies.items():
            about = {
                "method": method,
                "data": "d",
                "ipc": 1,
                "network": network,
                "recipe": "",
                "protocol": "dsa",
                "seed": seed,
                "role": "set",
                "settings": settings,
            }
            key = f"{method} {network} {seed} {settings}"
            result = {"labels": "hard", "learning_rate": 0.1, "seconds": 1.0, "peak_bytes": 1}
            result |= {"accuracies": values, "tuned": False, "version": VERSION}
            store.put("set", key, {}, {"image_bytes": 1, "label_bytes": 0, "cost": {}})
            store.put("figure", key, about, {"evaluation": result, "runs": [key]})

    for network, values in {"a": [0.7, 0.7], "b": [0.8, 0.9], "c": [0.8, 0.85]}.items():
        key = f"real {network}"
        reached = {"accuracies": values, "version": VERSION}
        store.put("real", key, {"data": "d", "network": network}, {"evaluation": reached})
    return store, fill


def test_rankings_are_those_of_the_means_over_evaluation_seeds(filled):
    store, fill = filled
    fill({"a": [0.1, 0.1], "b": [0.5, 0.5], "c": [0.1, 0.7]})  # real data: a < c < b
    fill({"a": [0.1, 0.1], "b": [0.3, 0.3], "c": [0.1, 0.9]}, seed=1)
    (found,) = read_results(store).rankings
    assert found.correlations == pytest.approx((1.0, 0.5))
    assert (found.method, found.networks) == ("m", 3)


def test_two_networks_in_a_store_are_no_ranking(filled):
    store, fill = filled
    fill({"a": [0.1], "b": [0.5]})
    found = read_results(store)
    assert len(found.rows) == 2
    assert found.rankings == []


def test_a_method_with_several_settings_has_a_ranking_of_each(filled):
    store, fill = filled
    fill({"a": [0.1], "c": [0.2], "b": [0.3]}, settings="aaaa1")
    fill({"a": [0.3], "c": [0.2], "b": [0.1]}, settings="bbbb1")
    fill({"a": [0.3], "c": [0.2], "b": [0.1]}, method="other")
    found = {ranking.method: ranking.correlations for ranking in read_results(store).rankings}
    assert found == {
        "m #aaaa": pytest.approx((1.0,)),
        "m #bbbb": pytest.approx((-1.0,)),
        "other": pytest.approx((-1.0,)),
    }


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_every_network_of_the_family_works_on_small_images(shape):
    for spec in FAMILY:
        network = networks.create(spec, classes=10, shape=shape, generator=torch.Generator())
        assert network.eval()(torch.zeros(2, *shape)).shape == (2, 10)


def test_the_networks_of_the_family_are_distinct():
    states = set()
    for spec in FAMILY:
        network = networks.create(spec, classes=10, shape=(1, 8, 8), generator=torch.Generator())
        states.add(str(network))
    assert len(states) == len(FAMILY) == 3 * 4 * 2


def test_the_task_ranks_the_family_unless_another_one_is_named():
    task = read_config(None, {"task": "ranking", "methods": ["random"]})
    assert (task.networks, task.protocols, task.selection) == (FAMILY, ("dsa",), "none")
    assert task.real
    own = read_config(
        None, {"task": "ranking", "networks": ["convnet:width=8"], "selection": "apm"}
    )
    assert (own.networks, own.selection) == (("convnet:width=8",), "apm")
    assert read_config(None, {}).networks == ()


def test_a_bench_of_three_networks_has_a_ranking(bench):
    small = tuple(f"convnet:depth=1:width={width}" for width in (2, 4, 8))
    done = bench("random", task="ranking", networks=small, seeds=2, evaluation_seeds=1, real=True)
    assert done.failed == []
    (found,) = read_results(done.store).rankings
    assert (found.method, found.networks, len(found.correlations)) == ("random", 3, 2)

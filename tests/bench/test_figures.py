"""What stands beside a set, and what is trained once for several of them."""

from dataclasses import replace

import pytest
import torch

from ddkit import SoftLabels
from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.evaluation import accuracy as evaluation
from ddkit.pipeline.evaluate import compare
from ddkit.runtime.progress import Silent

NETWORK = "convnet:depth=1:width=4"


@pytest.fixture
def soft(method):
    """Install a method with soft labels."""
    return method(
        "soft",
        relabel=lambda run, pool, images: SoftLabels(
            3 * torch.nn.functional.one_hot(images.classes, len(run.classes)).float()
        ),
    )


@pytest.fixture
def learned(method, fading):
    """Install a method that learns the student's learning rate, far from any protocol's."""

    class Learned(fading):
        def decode(self, shard, leaves):
            return replace(super().decode(shard, leaves), learning_rate=0.123)

    return method("learned", synthesis_loss=lambda run, pool: Learned(run))


def rate(done, role: str, **about) -> float:
    """Return the learning rate that a figure was trained with."""
    return done.figure(role, **about)["evaluation"]["learning_rate"]


def test_a_hard_labelled_sets_own_figure_is_that_under_dsa(bench, method, work):
    done = bench(method(), protocols=("dsa", "own"))
    for role in ("set", "random"):
        own, dsa = (done.figure(role, protocol=name) for name in ("own", "dsa"))
        assert own == {**dsa, "own_recipe": "dsa"}
    assert work.trained == [("dsa", 0), ("dsa", 1)] * 2


def test_a_soft_labelled_sets_own_figure_is_under_soft_labels(bench, soft, work):
    done = bench(soft, protocols=("dsa", "own"))
    assert work.trained == [("dsa", 0), ("dsa", 1)] * 2 + [("soft", 0), ("soft", 1)] * 2
    assert done.figure("random", protocol="own")["evaluation"]["labels"] == "soft"


def test_a_protocol_for_soft_labels_leaves_a_hard_labelled_set_out(bench, method, work):
    name = method()
    done = bench(name, protocols=("l1",))
    assert done.failed == []
    assert done.figure("set")["evaluation"] is None
    assert work.trained == []
    assert done.rows() == []
    work.clear()
    bench(name, protocols=("l1",))
    assert not work


def test_networks_on_all_real_data_are_trained_once_for_all(bench, method, work):
    bench("random", method(), ipc=(1, 2), seeds=2, real=True)
    assert [name for name, _ in work.trained].count("all real data") == 2


def test_nothing_of_one_precision_serves_another(bench, work):
    done = bench("random", real=True)
    before = list(work.trained)
    work.clear()
    done = bench("random", real=True, precision="tf32")
    assert work.trained == before
    assert [row.recipe for row in done.rows()] == ["2 epochs", "2 epochs, precision tf32"]
    assert {e.result["config"]["precision"] for e in done.store.all("set")} == {"auto", "tf32"}


def test_what_an_evaluation_trained_a_bench_does_not_train_again(bench, method, work):
    name = method()
    compared = {
        "protocols": ["dsa"],
        "networks": [NETWORK],
        "recipe": {"epochs": 2},
        "random": False,
        "progress": Silent(),
    }
    first = bench(name, real=True)
    (entry,) = [e for e in first.store.all("set") if e.result["config"]["method"] == name]
    work.clear()
    path = first.folder / entry.result["folder"] / "distilled.safetensors"
    ours, real = compare(path, seeds=range(3), **compared)
    assert work.trained == [("dsa", 2), ("all real data", 2)]
    work.clear()
    done = bench(name, real=True, evaluation_seeds=3)
    assert work.trained == [("dsa", 2)]  # of random images alone
    assert tuple(done.figure("set")["evaluation"]["accuracies"]) == ours.evaluation.accuracies
    (kept,) = done.store.evaluated("real")
    assert tuple(kept.result["evaluation"]["accuracies"]) == real.evaluation.accuracies


def test_random_images_with_hard_labels_are_trained_once_for_all_methods(bench, method, work):
    done = bench(method("one"), method("two"))
    assert done.figure("random", method="one") == done.figure("random", method="two")
    assert len(work.trained) == 3 * 2  # two sets, one baseline


def test_a_baseline_among_the_methods_is_its_own_baseline(bench, work):
    done = bench("random", "herding", selection="herding")
    for name in ("random", "herding"):
        assert done.figure("set", method=name) == done.figure(
            name.replace("herding", "selection"), method=name
        )
    rows = {row.method: row for row in done.rows()}
    assert rows["random"].over_random == 0
    assert rows["herding"].over_selection == 0


def test_a_variant_of_the_selection_stands_beside_the_selection(bench, work):
    variants = {"far": {"method": "herding", "settings": ["features=pixels", "rule=k-center"]}}
    done = bench("far", selection="herding", variants=variants)
    assert done.figure("set", method="far") != done.figure("selection", method="far")


def test_another_selection_in_the_same_folder_is_made(bench, work):
    bench("random", selection="herding")
    work.clear()
    variants = {"k-center": {"method": "k-center", "settings": ["features=pixels"]}}
    bench("random", selection="k-center", variants=variants)
    assert "k-center 0" in work.distilled
    assert work.trained == [("dsa", 0), ("dsa", 1)]


def test_the_selection_is_not_trained_without_augmentation(bench, work):
    done = bench("random", selection="herding", protocols=("plain",))
    assert [e.about["role"] for e in done.store.all("figure")] == ["set", "random"]
    (row,) = done.rows()
    assert row.selection is None


def test_beside_a_learned_rate_random_images_have_theirs_tuned(bench, learned, work):
    done = bench(learned, selection="herding")
    assert rate(done, "set") == 0.123
    assert rate(done, "random") != 0.123
    assert len(work.tuned) == 2  # random images and the selection
    (row,) = done.rows()
    assert row.tuned is False


def test_random_images_beside_several_methods_are_tuned_only_where_the_set_is(
    bench, learned, method, work
):
    done = bench(learned, method("plain"))
    assert rate(done, "random", method="plain") == 0.01
    assert done.figure("random", method="plain") != done.figure("random", method="learned")


def rows_of(images: torch.Tensor) -> set[bytes]:
    return {bytes(image) for image in images.flatten(1).numpy()}


def test_every_set_is_tuned_alike_and_on_training_data_only(bench, method, work, monkeypatch):
    tries = []
    train = evaluation.train_on

    def trying(dataset, protocol, *rest):
        tries.append(protocol.recipe.lr)
        return train(dataset, protocol, *rest)

    monkeypatch.setattr(evaluation, "train_on", trying)
    done = bench(method(), selection="herding", tune=True)
    assert len(work.tuned) == 3  # set, random, selection
    rates = [0.01 * factor for factor in evaluation.TUNING_FACTORS]
    assert tries == pytest.approx(rates * 3)
    train_rows, test_rows = (
        rows_of(sources.load(DataOptions(), split).images) for split in ("train", "test")
    )
    for images in work.tuned:
        assert rows_of(images) <= train_rows - test_rows
    for entry in done.store.all("set"):
        assert entry.result["config"]["data"]["holdout"] == 0.1
    assert {row.tuned for row in done.rows()} == {True}


def test_no_set_is_distilled_from_what_it_is_tuned_on(bench, method, fading, work):
    seen = []

    def build(run, pool):
        seen.append(run.train.images)
        return fading(run)

    bench(method(synthesis_loss=build), tune=True)
    assert not rows_of(seen[0]) & rows_of(work.tuned[0])


def test_a_tuned_rate_is_kept_for_later_seeds(bench, method, work, monkeypatch):
    name = method()
    first = bench(name, tune=True)
    rates = [rate(first, role) for role in ("set", "random")]
    work.clear()
    done = bench(name, tune=True, evaluation_seeds=3)
    assert work.tuned == []
    assert work.trained == [("dsa", 2)] * 2
    assert [rate(done, role) for role in ("set", "random")] == rates


def test_a_tuned_figure_stands_beside_the_one_that_is_not(bench, method):
    name = method()
    bench(name)
    rows = bench(name, tune=True).rows()
    assert [(row.recipe, row.tuned) for row in rows] == [
        ("2 epochs", False),
        ("2 epochs, tuned", True),
    ]


def test_the_cost_of_later_seeds_is_added(bench, method):
    name = method()

    def seconds(done):
        return done.figure("set")["evaluation"]["seconds"]

    first = seconds(bench(name))
    assert seconds(bench(name, evaluation_seeds=3)) > first


def test_another_input_space_is_tested_in_that_space(bench, method):
    name = method()
    data = [{"name": "digits", "space": "unit"}, "digits"]
    done = bench(name, data=data)
    assert done.failed == []
    found = {str(entry.result["evaluation"]) for entry in done.store.evaluated("figure")}
    assert len(found) == 4  # set and random in each space

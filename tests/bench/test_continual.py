"""Continual learning: each step's images know its own classes only, its network all seen so far."""

import pytest
import torch

from ddkit import DdkitError, SoftLabels, networks
from ddkit.bench.cells import cells
from ddkit.bench.continual import STEPS, class_steps
from ddkit.bench.harness import Harness
from ddkit.bench.results import read_results
from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.distilled.dataset import load
from ddkit.evaluation import units

DIGITS = tuple("0123456789")


@pytest.fixture
def learned(bench):
    """Return a function that runs the task on digits, five steps of two classes."""
    return lambda *methods, **fields: bench(*methods, task="continual", **fields)


def names_of_images() -> dict[tuple[int, ...], str]:
    """Return the class of each training image, by its pixels."""
    split = sources.load(DataOptions(), "train")
    rows = zip(split.images.flatten(1).tolist(), split.labels.tolist(), strict=True)
    return {tuple(pixels): split.classes[label] for pixels, label in rows}


def images_of(artifact) -> list[tuple[int, ...]]:
    pixels = artifact.pixels(torch.arange(len(artifact))) * 255
    return [tuple(image) for image in pixels.round().byte().flatten(1).tolist()]


def unions(done) -> list:
    """Return the sets that networks were trained on, the smallest first."""
    found = [load(path) for path in (done.folder / "runs").glob("classes-*")]
    return sorted(found, key=lambda artifact: len(artifact.class_names))


@pytest.mark.parametrize("count", [10, 11, 100])
def test_the_steps_have_every_class_once(count):
    names = [f"class {number}" for number in range(count)]
    steps = class_steps(names, 0)
    assert len(steps) == STEPS == 5
    assert sorted(name for step in steps for name in step) == sorted(names)
    assert {len(step) for step in steps} <= {count // 5, count // 5 + 1}


def test_their_order_follows_from_the_seed():
    assert class_steps(DIGITS, 3) == class_steps(DIGITS, 3)
    orders = {tuple(class_steps(DIGITS, seed)) for seed in range(5)}
    assert len(orders) == 5
    assert tuple(name for step in class_steps(DIGITS, 0) for name in step) != DIGITS


def test_too_few_classes_are_one_clear_line(learned):
    with pytest.raises(DdkitError) as refused:
        learned("random", data=[{"name": "digits", "classes": "9"}])
    assert str(refused.value) == (
        "--task continual has 5 steps of two classes at least, and the data have 9 classes: name "
        "a set with more"
    )


def test_each_step_is_made_from_its_own_classes(learned, method):
    done = learned(method(), ipc=(2,), selection="herding")
    assert done.failed == []
    steps = class_steps(DIGITS, 0)
    names = names_of_images()
    by_method = {"toy": [], "random": [], "herding": []}
    for entry in done.store.all("set"):
        artifact = load(done.folder / entry.result["folder"])
        by_method[entry.result["config"]["method"]].append(tuple(artifact.class_names))
        assert len(artifact) == 4
        if entry.result["config"]["method"] != "toy":
            found = [names[image] for image in images_of(artifact)]
            assert found == [artifact.class_names[label] for label in artifact.classes.tolist()]
    assert by_method == {"toy": steps, "random": steps, "herding": steps}


def test_the_images_of_all_steps_so_far_have_their_labels(learned):
    done = learned("random", ipc=(2,))
    steps = class_steps(DIGITS, 0)
    names = names_of_images()
    found = unions(done)
    assert len(found) == 5
    for count, artifact in enumerate(found, 1):
        seen = [name for step in steps[:count] for name in step]
        assert artifact.class_names == seen
        assert artifact.classes.tolist() == [label for label in range(2 * count) for _ in range(2)]
        assert [names[image] for image in images_of(artifact)] == [
            n for n in seen for _ in range(2)
        ]


def test_networks_are_tested_on_the_classes_seen_so_far(learned, monkeypatch):
    tested, logits = [], []
    evaluate, create = units.evaluate_with, networks.create

    def evaluating(protocol, dataset, test, *rest, **more):
        tested.append((test.split.classes, len(test), sorted(test.labels.unique().tolist())))
        return evaluate(protocol, dataset, test, *rest, **more)

    def creating(spec, *, classes, **rest):
        logits.append(classes)
        return create(spec, classes=classes, **rest)

    monkeypatch.setattr(units, "evaluate_with", evaluating)
    monkeypatch.setattr(networks, "create", creating)
    assert learned("random", evaluation_seeds=1).failed == []
    whole = sources.load(DataOptions(), "test")
    steps = class_steps(DIGITS, 0)
    for count, (classes, images, labels) in enumerate(tested, 1):
        seen = tuple(name for step in steps[:count] for name in step)
        assert classes == seen
        assert images == sum(int(whole.counts[int(name)]) for name in seen)
        assert labels == list(range(2 * count))
    assert len(tested) == 5
    assert sorted(set(logits)) == [2, 4, 6, 8, 10]


def test_a_step_is_distilled_once_and_used_by_all_later_ones(learned, method, work):
    learned(method(), seeds=2)
    assert work.distilled.count("toy 0") == work.distilled.count("toy 1") == 5
    assert work.distilled.count("random 0") == work.distilled.count("random 1") == 5
    assert len(work.distilled) == 20
    assert work.trained == [("dsa", 0), ("dsa", 1)] * 2 * 2 * 5


def test_a_second_start_does_nothing_and_more_seeds_train_the_new_ones(learned, method, work):
    name = method()
    before = learned(name).accuracies()
    work.clear()
    assert learned(name).accuracies() == before
    assert not work
    learned(name, evaluation_seeds=3)
    assert work.distilled == []
    assert work.trained == [("dsa", 2)] * 10


def test_labels_are_hard_whatever_the_method_gives(learned, method):
    def label(run, pool, images):
        return SoftLabels(torch.zeros(len(images), len(run.classes)))

    done = learned(method(relabel=label))
    assert done.failed == []
    assert {entry.result["labels"] for entry in done.store.all("set")} == {"hard"}
    assert {artifact.labels.kind for artifact in unions(done)} == {"hard"}
    assert {row.labels for row in done.rows()} == {"hard"}


def test_rows_say_how_many_classes_were_seen(learned):
    done = learned("random", seeds=2)
    rows = read_results(done.store).rows
    assert [row.recipe for row in rows] == [
        f"{seen} of 10 classes seen, 2 epochs" for seen in (2, 4, 6, 8, 10)
    ]
    assert all((row.accuracy.sets, row.accuracy.networks) == (2, 2) for row in rows)
    assert [row.image_bytes for row in rows] == [64 * seen for seen in (2, 4, 6, 8, 10)]


def test_each_step_has_the_preset_of_the_whole_set(config, folder):
    harness = Harness(config("teddy", task="continual", network=None), folder)
    (cell,) = cells(harness.bench)
    assert cell.config.preset.startswith("digits-ipc1 ")
    runs = harness.figures.runs(cell)
    assert [run.data.classes for run in runs] == class_steps(DIGITS, 0)
    for run in runs:
        assert (run.options, run.network) == (cell.config.options, "convnet:norm=batch:width=64")


def test_one_selection_serves_methods_with_other_input_spaces(learned, method, tmp_path):
    preset = tmp_path / "white.toml"
    preset.write_text('[data]\nspace = "zca"\n')
    variants = {"white": {"method": method(), "preset": str(preset)}}
    done = learned("toy", "white", variants=variants, selection="herding", evaluation_seeds=1)
    assert done.failed == []
    about = {"role": "selection", "recipe": "10 of 10 classes seen, 2 epochs"}
    plain, white = (done.figure(method=name, **about) for name in ("toy", "white"))
    assert plain["runs"] == white["runs"]
    assert plain["evaluation"] != white["evaluation"]
    kinds = [a.space.kind for a in unions(done) if len(a.class_names) == 10]
    assert sorted(kinds) == ["standard"] * 3 + ["zca"] * 3

"""Evaluations are kept seed by seed: what was trained is not trained again."""

import shutil
from dataclasses import replace

import pytest

from ddkit.distilled.dataset import load
from ddkit.evaluation import units as evaluation_units
from ddkit.evaluation.accuracy import evaluate_with, open_test, protocol_for
from ddkit.evaluation.result import Evaluation
from ddkit.evaluation.units import Evaluations, groups, joined
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import evaluate as comparison
from ddkit.runtime.errors import Busy
from ddkit.runtime.files import read_json
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.progress import Silent

NET = "convnet:depth=1:width=4"
DSA = protocol_for("dsa").with_recipe(epochs=3)


@pytest.fixture
def evaluations(run, data, tmp_path, monkeypatch):
    """Return evaluations of a distilled set, with a cache of their own."""
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "cache"))
    path = pipeline.distill(run(network=NET).config, tmp_path / "mine")
    distilled = load(path)
    config = comparison.config_of(distilled, None, None)
    work = comparison.run_of(distilled, config, path.parent, Silent())
    return Evaluations(path, work, open_test(work))


def files(tmp_path):
    return {
        path: path.stat().st_mtime_ns
        for path in tmp_path.glob("cache/evaluations/*.json")
        if path.name != "settled.json"
    }


def test_accuracies_are_those_of_one_evaluation_of_all_seeds(evaluations):
    distilled = load(evaluations.artifact)
    found = evaluations.of_set(distilled, DSA, NET, range(3))
    device = evaluations.run.device
    expected = evaluate_with(DSA, distilled, evaluations.test, NET, range(3), device)
    assert found.accuracies == expected.accuracies
    assert (found.network, found.protocol, found.labels) == (NET, "dsa", "hard")


def test_more_seeds_train_only_those_that_are_new(evaluations, tmp_path):
    distilled = load(evaluations.artifact)
    two = evaluations.of_set(distilled, DSA, NET, range(2))
    before = files(tmp_path)
    three = evaluations.of_set(distilled, DSA, NET, range(3))
    after = files(tmp_path)
    assert three.accuracies[:2] == two.accuracies
    assert len(before) == 2
    assert len(after) == 3
    assert before.items() <= after.items()


@pytest.mark.parametrize("change", ["recipe", "network", "set", "test images"])
def test_another_evaluation_is_trained_anew(evaluations, change, data, make_split, run, tmp_path):
    distilled = load(evaluations.artifact)
    evaluations.of_set(distilled, DSA, NET, [0])
    recipe, network = DSA, NET
    if change == "recipe":
        recipe = DSA.with_recipe(epochs=4)
    if change == "network":
        network = "convnet:depth=1:width=5"
    if change == "set":
        distilled = load(pipeline.distill(run(network=NET, seed=5).config, tmp_path / "other"))
    if change == "test images":
        data["test"] = make_split(each=10, seed=9)
        evaluations = Evaluations(evaluations.artifact, evaluations.run, open_test(evaluations.run))
    evaluations.of_set(distilled, recipe, network, [0])
    assert len(files(tmp_path)) == 2


def test_a_set_is_known_by_its_content_wherever_it_lies(evaluations, tmp_path):
    first = evaluations.of_set(load(evaluations.artifact), DSA, NET, [0])
    copied = shutil.copyfile(evaluations.artifact, tmp_path / "copied.safetensors")
    before = files(tmp_path)
    assert evaluations.of_set(load(copied), DSA, NET, [0]) == first
    assert files(tmp_path) == before


def test_a_rate_is_chosen_once_and_its_seconds_count(evaluations, tmp_path, monkeypatch):
    distilled = load(evaluations.artifact)
    first = evaluations.of_set(distilled, DSA, NET, [0], tune=True)
    monkeypatch.setattr(evaluation_units, "tuned", lambda *rest: pytest.fail("tuned again"))
    again = evaluations.of_set(distilled, DSA, NET, [0, 1], tune=True)
    assert (first.tuned, again.learning_rate) == (True, first.learning_rate)
    said = evaluations.of_set(distilled, DSA.with_recipe(lr=first.learning_rate), NET, [0, 1])
    assert (said.tuned, said.accuracies) == (False, again.accuracies)
    (spent,) = [read_json(path)["seconds"] for path in files(tmp_path) if "rate" in read_json(path)]
    assert again.seconds == pytest.approx(said.seconds + spent)


def test_one_process_is_at_an_evaluation(evaluations, monkeypatch):
    distilled = load(evaluations.artifact)
    honest = evaluation_units.trained

    def meeting(*work):
        with pytest.raises(Busy, match="the evaluation"):
            replace(evaluations, wait=False).of_set(distilled, DSA, NET, [7])
        return honest(*work)

    monkeypatch.setattr(evaluation_units, "trained", meeting)
    assert len(evaluations.of_set(distilled, DSA, NET, [0]).accuracies) == 1


def test_a_comparison_that_was_stopped_goes_on(evaluations, tmp_path, monkeypatch):
    distilled = load(evaluations.artifact)
    honest = evaluation_units.trained

    def stopping(run, test, dataset, protocol, network, seeds, together):
        if seeds == (2,):
            raise Stopped
        return honest(run, test, dataset, protocol, network, seeds, together)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation_units, "trained", stopping)
        with pytest.raises(Stopped):
            evaluations.of_set(distilled, DSA, NET, range(4))
    before = files(tmp_path)
    assert len(before) == 2
    assert len(evaluations.of_set(distilled, DSA, NET, range(4)).accuracies) == 4
    assert before.items() <= files(tmp_path).items()


def test_real_data_are_kept_as_well(evaluations, tmp_path):
    recipe = protocol_for("dsa").model_copy(update={"real_epochs": 1})
    first = evaluations.of_real(recipe, NET, [0, 1])
    before = files(tmp_path)
    assert evaluations.of_real(recipe, NET, [0, 1]) == first
    assert files(tmp_path) == before
    assert len(before) == 2


def test_figures_of_all_seeds_are_joined():
    one = Evaluation((0.5,), NET, "dsa", "hard", 0.1, 2.0, together=1, peak_bytes=7)
    other = Evaluation((0.7,), NET, "dsa", "hard", 0.1, 3.0, together=1, peak_bytes=9)
    found = joined([one, other])
    assert (found.accuracies, found.seconds, found.peak_bytes) == ((0.5, 0.7), 5.0, 9)
    assert list(groups(range(5), 2)) == [(0, 1), (2, 3), (4,)]

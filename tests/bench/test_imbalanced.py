"""The imbalanced task: what is distilled and drawn from is imbalanced, what is tested on is not."""

import pytest
import torch

from ddkit.bench.config import IMBALANCE
from ddkit.bench.results import read_results
from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.distilled.dataset import load
from ddkit.evaluation import accuracy as evaluation
from ddkit.pipeline import distill as pipeline
from ddkit.run import Run


@pytest.fixture
def opened(monkeypatch):
    """Note the runs that are distilled or trained on all real data, and the splits tested on."""
    runs: list[Run] = []
    tests: list[list[int]] = []
    begun, real, test = pipeline.begun, evaluation.evaluate_real, evaluation.open_test

    def beginning(*rest):
        stages = begun(*rest)
        runs.append(stages.run)
        return stages

    def training(protocol, run, *rest):
        runs.append(run)
        return real(protocol, run, *rest)

    def testing(run):
        found = test(run)
        tests.append(found.split.counts.tolist())
        return found

    monkeypatch.setattr(pipeline, "begun", beginning)
    monkeypatch.setattr(evaluation, "evaluate_real", training)
    monkeypatch.setattr(evaluation, "open_test", testing)
    return runs, tests


WHOLE = sources.load(DataOptions(), "train")
TEST = sources.load(DataOptions(), "test")


def shares(run: Run) -> torch.Tensor:
    return torch.as_tensor(run.train.counts) / torch.as_tensor(WHOLE.counts)


def test_all_see_the_same_imbalanced_images_and_are_tested_on_all(bench, opened, method):
    runs, tests = opened
    done = bench(method(), "random", seeds=2, task="imbalanced", selection="herding", real=True)
    assert done.failed == []
    assert {run.config.method for run in runs} == {"toy", "random", "herding"}
    assert len({run.train.fingerprint for run in runs}) == 1  # for all distillation seeds
    found = shares(runs[0])
    assert found.min() >= IMBALANCE[0] - 0.01
    assert found.max() - found.min() > 0.2
    assert all(counts == torch.as_tensor(TEST.counts).tolist() for counts in tests)
    assert tests


def test_baselines_are_images_of_the_imbalanced_split(bench, opened):
    runs, _ = opened
    done = bench(task="imbalanced", selection="herding", ipc=(3,))
    kept = {tuple(image.flatten().tolist()) for image in runs[0].train.images}
    for entry in done.store.all("set"):
        artifact = load(done.folder / entry.result["folder"])
        images = (artifact.pixels(torch.arange(30)) * 255).round().byte()
        assert {tuple(image.flatten().tolist()) for image in images} <= kept


def test_an_imbalance_of_the_users_own_wins(bench, opened):
    runs, _ = opened
    data = [{"name": "digits", "imbalance": "0.1:0.2"}]
    assert bench(task="imbalanced", data=data).failed == []
    assert runs[0].config.data.imbalance == (0.1, 0.2)
    assert shares(runs[0]).max() < 0.21


def test_its_rows_say_so_and_stand_apart_from_balanced_ones(bench):
    balanced = bench().rows()[0]
    both = read_results(bench(task="imbalanced").store).rows
    assert [row.recipe for row in both] == ["2 epochs", "2 epochs, imbalanced"]
    assert both[0].accuracy == balanced.accuracy
    assert both[1].accuracy != balanced.accuracy

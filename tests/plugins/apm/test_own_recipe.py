"""The method's own recipe: L1 on logits of plain images, against a loop by hand."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit import Evaluation, HardLabels, Run, networks
from ddkit.data.augmentation.dsa import apply_dsa, draw_dsa
from ddkit.data.sources import load as sources
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.distilled.writing import write_distilled
from ddkit.evaluation.accuracy import protocol_for
from ddkit.methods.plugin import Plugin
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import describe
from ddkit.pipeline.stages import Stage
from ddkit.runtime.seeds import generator
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.initial import initial_real
from ddkit.training import loop as training

NETWORK = "convnet:depth=2:width=8"
RECIPE = ("evaluation_epochs=6", "lr_student=0.1", "student_momentum=0.5", "student_decay=0.01")


@pytest.fixture
def distilled(apm_run) -> tuple[Run, DistilledDataset]:
    """Return a run and its artifact of ten images, with logits."""
    run = apm_run("rounds=1", "teachers=1", *RECIPE, "student_batch=4")
    return Stage(run, "evaluate").run, load(pipeline.distill(run.config, run.folder))


def by_hand(
    run: Run,
    distilled: DistilledDataset,
    seed: int,
    *,
    epochs: int = 6,
    lr: float = 0.1,
    momentum: float = 0.5,
    decay: float = 0.01,
    size: int = 4,
    loss=None,
    dsa: bool = False,
) -> nn.Module:
    """Return a network trained on a set by plain SGD."""
    loss = loss or (lambda guess, target: (guess - target).abs().sum() / target.numel())
    rows = torch.arange(len(distilled))
    inputs = (distilled.pixels(rows) - run.space.mean) / run.space.std
    targets = distilled.labels.targets(rows, 0)
    network = networks.create(
        NETWORK, classes=10, shape=(1, 8, 8), generator=generator(seed, "evaluation network")
    )
    parameters = list(network.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=generator(seed, "order", epoch))
        for number, part in enumerate(order.split(size)):
            seen = inputs[part]
            if dsa:
                draws = draw_dsa(
                    len(part), (8, 8), generator(seed, "dsa", epoch, number), flip=False
                )
                seen = apply_dsa(seen, draws)
            slopes = torch.autograd.grad(loss(network(seen), targets[part]), parameters)
            rate = lr * (0.1 if epoch >= epochs / 2 else 1.0)
            with torch.no_grad():
                for p, g, v in zip(parameters, slopes, velocity, strict=True):
                    v.copy_(momentum * v + g + decay * p)
                    p.copy_(p - rate * v)
    return network.eval()


def own(run: Run, distilled: DistilledDataset, seeds: list[int]) -> Evaluation:
    """Return what the method's evaluation finds: it has no hook of its own."""
    return Plugin("apm").evaluate(run, distilled, NETWORK, seeds)


def accuracy(run: Run, network: nn.Module) -> float:
    """Return the share of the test images that a network gets right."""
    test = sources.load(run.config.data, "test", seed=run.config.seed)
    inputs = (test.images.float() / 255 - run.space.mean) / run.space.std
    guesses: Tensor = network(inputs).argmax(1)
    return float((guesses == test.labels).float().mean())


@pytest.fixture
def networks_tested(monkeypatch) -> list[nn.Module]:
    """Return a list to which every network whose accuracy is measured is added."""
    tested, plain = [], training.accuracy

    def watched(network, batches):
        tested.append(network)
        return plain(network, batches)

    monkeypatch.setattr(training, "accuracy", watched)
    return tested


def gap(one: nn.Module, other: nn.Module) -> float:
    """Return the largest difference of two networks' weights."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_networks_are_trained_with_l1_on_logits_at_the_students_recipe(distilled, networks_tested):
    run, artifact = distilled
    found = own(run, artifact, [0, 3])
    expected = [by_hand(run, artifact, seed) for seed in (0, 3)]
    for network, other in zip(networks_tested, expected, strict=True):
        assert gap(network, other) < 1e-4
    accuracies = [accuracy(run, network) for network in expected]
    assert found.accuracies == pytest.approx(accuracies, abs=0.01)
    assert (found.protocol, found.labels, found.learning_rate) == ("l1", "soft", 0.1)
    assert found.network == NETWORK
    changes = (
        {"loss": F.mse_loss},
        {"dsa": True},
        {"momentum": 0.0},
        {"decay": 0.0},
        {"lr": 0.05},
        {"epochs": 5},
        {"size": 5},
    )
    for change in changes:  # the tolerance tells trainings apart
        assert gap(networks_tested[0], by_hand(run, artifact, 0, **change)) > 1e-3, change


def test_hard_labels_get_the_cores_protocol_for_them(
    apm_run, tmp_path, monkeypatch, networks_tested
):
    run = apm_run(stage="evaluate")
    images = Synthetic(initial_real(run), torch.arange(10))
    path = tmp_path / "hard.safetensors"
    write_distilled(path, images, HardLabels(images.classes), run.space, describe(run))
    dsa = protocol_for("dsa").with_recipe(epochs=2)  # for 1000
    monkeypatch.setattr("ddkit.evaluation.protocols.DSA", dsa)
    found = own(run, load(path), [0])
    assert (found.protocol, found.labels, found.learning_rate) == ("dsa", "hard", 0.01)
    hard = {
        "epochs": 2,
        "lr": 0.01,
        "momentum": 0.9,
        "decay": 5e-4,
        "size": 256,
        "dsa": True,
        "loss": F.cross_entropy,
    }
    assert gap(*networks_tested, by_hand(run, load(path), 0, **hard)) < 1e-4


def test_logits_of_every_epoch_are_trained_towards_with_l1_too(apm_run):
    """Labels that Teddy made are logits as well."""
    teddy = (
        "unit=step",
        "first=1",
        "last=3",
        "every=2",
        "train_batch=64",
        "recalibrate=0",
        "label_epochs=2",
    )
    settings = [f"relabel.{setting}" for setting in teddy]
    run = apm_run(
        "rounds=0", *settings, sources={"relabel": "teddy"}, network=NETWORK + ":norm=batch"
    )
    artifact = load(pipeline.distill(run.config, run.folder))
    found = own(Stage(run, "evaluate").run, artifact, [0])
    assert (found.protocol, found.labels, found.learning_rate) == ("l1", "epoch", 0.02)


def test_the_rate_of_the_evaluation_is_the_students(distilled):
    run, artifact = distilled
    options = run.options.model_copy(update={"lr_student": 0.07, "evaluation_epochs": 1})
    found = own(replace(run, options=options), artifact, [0])
    assert found.learning_rate == 0.07

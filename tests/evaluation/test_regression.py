"""The protocol of FRePo and RCIG: squared error towards targets, images and their mirror images."""

from math import cos, pi
from typing import ClassVar

import pytest
import torch

from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import evaluate_with, own_protocol_name, protocol_for
from ddkit.evaluation.training import TrainingSet, create, train_on, train_together
from ddkit.labels import RegressionTargets, SoftLabels
from ddkit.pipeline import evaluate as comparison
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent

CPU = torch.device("cpu")
NET = "convnet:depth=2:width=4:growth=2:norm=none:init=lecun"
STEPS = 8
PROTOCOL = protocol_for("regression").with_recipe(steps=((1, STEPS),), warmup=2, lr=0.01)
VALUES = torch.randn(6, 3, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def path(artifact, data):
    return artifact(labels=RegressionTargets(VALUES), train=data["train"], network=NET)


def weights(network) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in network.state_dict().values()])


def by_hand(distilled, mirror: bool = True):
    """Return a network trained as their code trains one, every step on the whole set."""
    inputs, targets = distilled.inputs(torch.arange(6))
    if mirror:
        inputs, targets = torch.cat([inputs, inputs.flip(3)]), torch.cat([targets, targets])
    network = create(NET, distilled.class_names, distilled.shape, 0, CPU)
    adam = torch.optim.Adam(network.parameters(), betas=(0.9, 0.999), eps=1e-8)
    for step in range(STEPS):
        wave = 0.5 * (1 + cos(pi * (step - 2) / (STEPS - 2)))
        rate = 0.01 * (step / 2 if step < 2 else 0.01 + 0.99 * wave)
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        ((network(inputs) - targets) ** 2).mean().mul(0.5).backward()
        adam.step()
    return network


@pytest.mark.parametrize("mirror", [True, False])
def test_it_is_a_plain_loop_over_the_images_and_their_mirror_images(path, mirror):
    distilled = load(path)
    distilled.metadata["mirror"] = mirror
    found = train_on(distilled, PROTOCOL, NET, 0, CPU)
    expected = weights(by_hand(distilled, mirror))
    assert torch.allclose(weights(found), expected, atol=1e-5)
    assert not torch.allclose(weights(by_hand(distilled, not mirror)), expected, atol=1e-4)


def test_networks_that_train_together_are_those_that_train_alone(path):
    distilled = load(path)
    together = train_together(distilled, PROTOCOL, NET, [0, 1], CPU)
    alone = [train_on(distilled, PROTOCOL, NET, seed, CPU) for seed in (0, 1)]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(weights(one), weights(other), atol=1e-4)


def test_batches_hold_no_image_twice_and_leave_none_out(path):
    distilled = load(path)
    distilled.metadata["mirror"] = True
    served = TrainingSet(distilled, PROTOCOL.with_recipe(batch_size=5), CPU)
    seen = torch.cat([inputs for inputs, _ in served.batches(0, 0)])
    inputs, _ = distilled.inputs(torch.arange(6))
    both = torch.cat([inputs, inputs.flip(3)])
    assert served.steps == 3
    assert sorted(map(tuple, seen.flatten(1).tolist())) == sorted(
        map(tuple, both.flatten(1).tolist())
    )


class Sized(list):
    """Stands for a set of so many images that may be mirrored."""

    metadata: ClassVar = {"mirror": True}

    def __init__(self, count: int):
        super().__init__(range(count))


@pytest.mark.parametrize(
    ("count", "steps"),
    [(1, 1000), (10, 1000), (50, 1000), (100, 2000), (200, 20000), (500, 5000), (1000, 10000)],
)
def test_steps_are_those_of_the_papers_code(count, steps):
    recipe = protocol_for("regression").for_set(Sized(count)).recipe
    per_epoch = -(-2 * count // 256)
    assert recipe.epochs * per_epoch == steps
    assert recipe.factor(250 / per_epoch, per_epoch) * recipe.lr == pytest.approx(5e-5)
    assert recipe.factor(recipe.epochs, per_epoch) * recipe.lr == pytest.approx(1e-6)


def test_epochs_that_are_said_replace_the_steps():
    found = protocol_for("regression").with_recipe(epochs=7).for_set(Sized(10))
    assert found.recipe.epochs == 7


@pytest.mark.parametrize("protocol", ["soft", "dsa-soft", "l1"])
def test_protocols_of_logits_refuse_targets(path, protocol):
    with pytest.raises(DdkitError, match=f"the protocol {protocol} trains towards logits"):
        train_on(load(path), protocol_for(protocol), NET, 0, CPU)
    with pytest.raises(DdkitError, match="use the protocol regression, or dsa"):
        compared(path, protocols=["dsa", protocol])


def compared(path, **said):
    said = {"protocols": None, "networks": None, "seeds": [0], "recipe": {"epochs": 2}, **said}
    return comparison.compare(path, progress=Silent(), real=False, **said)


def test_a_set_is_compared_under_dsa_and_its_own_protocol(path):
    assert own_protocol_name(load(path)) == "regression"
    rows = compared(path)
    found = [(row.title, row.evaluation.protocol, row.evaluation.labels) for row in rows]
    assert found == [
        ("random", "dsa", "hard"),
        ("random real images", "dsa", "hard"),
        ("random", "regression", "targets"),
        ("random real images", "regression", "targets"),
    ]
    assert [row.label_bytes for row in rows] == [0, 0, VALUES.nbytes, 0]
    assert {row.evaluation.network for row in rows} == {NET}


def test_random_images_train_towards_the_targets_of_their_classes(artifact, data):
    config = {"train": data["train"], "network": NET}
    hard = load(artifact("hard.safetensors", **config))
    soft = load(artifact("soft.safetensors", labels=SoftLabels(VALUES), **config))
    centred = RegressionTargets(torch.eye(3)[hard.classes] - 1 / 3)
    own = load(artifact("own.safetensors", labels=centred, **config))
    nets = [train_on(each, PROTOCOL, NET, 0, CPU) for each in (hard, soft, own)]
    assert torch.allclose(weights(nets[0]), weights(nets[2]), atol=1e-6)
    assert torch.equal(weights(nets[0]), weights(nets[1]))


def test_an_evaluation_counts_its_epochs_and_says_its_labels(path, run, make_split):
    test = Resident(make_split(each=4, seed=1), run().space, CPU)
    found = evaluate_with(PROTOCOL, load(path), test, NET, [0, 1], CPU)
    assert (found.labels, found.protocol, found.learning_rate) == ("targets", "regression", 0.01)


def test_older_protocols_have_the_keys_they_had():
    recipe = protocol_for("dsa").model_dump()["recipe"]
    assert not {"warmup", "floor", "steps"} & set(recipe)
    assert {"warmup", "floor", "steps"} <= set(protocol_for("regression").model_dump()["recipe"])

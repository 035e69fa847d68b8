"""IDM: a queue that does nothing is DM, the class term by hand, ages, rates of its code."""

from collections.abc import Callable

import pytest
import torch
from ddkit_matching.aliases import IDM
from ddkit_matching.objective import MatchingObjective
from torch import Tensor

from ddkit import DdkitError
from ddkit.pipeline.resolve import Request, resolve

BATCH_NORM = "convnet:depth=2:width=8:norm=batch"
LINEAR = """
from torch import nn

def make(classes, shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))
"""


def stepped(objective: MatchingObjective, images: Tensor, step: int) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_()
    loss = objective.loss(objective.shards()[0], {"images": images}, step)
    return loss.detach(), torch.autograd.grad(loss, images)[0]


def begun(run: Callable) -> tuple[MatchingObjective, Tensor]:
    objective = MatchingObjective(run)
    return objective, objective.initialise(objective.shards()[0])["images"].value


@pytest.mark.parametrize("network", ["convnet:depth=2:width=8", BATCH_NORM])
@pytest.mark.parametrize("nothing", [{"queue_trained": 0}, {"queue_steps": 0}])
def test_a_queue_of_one_that_is_new_in_each_step_and_not_trained_is_dm(made_up, network, nothing):
    options = {"match": "distribution", "augmentation": "dsa", "config": {"network": network}}
    one, images = begun(made_up(networks="queue", queue=1, queue_every=1, **nothing, **options))
    other, same = begun(made_up(**options))
    assert torch.equal(images, same)
    for step in range(3):
        (loss, gradient), (dm_loss, dm_gradient) = (stepped(o, images, step) for o in (one, other))
        assert torch.equal(loss, dm_loss)
        assert torch.equal(gradient, dm_gradient)
        images = images + 0.1


def test_the_class_term_is_the_accuracy_in_percent_times_the_cross_entropy(
    made_up, tmp_path, monkeypatch
):
    """Of a linear network, whose features are the pixels: everything in closed form."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(LINEAR)
    run = made_up(
        match="distribution",
        networks="queue",
        queue=1,
        queue_every=100,
        queue_trained=1,
        queue_steps=2,
        batch_network=24,
        class_weight=0.5,
        config={"network": "./net.py:make"},
    )
    objective, images = begun(run)
    stepped(objective, images, 0)  # trains the network at its end
    live = objective.source.live
    weight, bias = (p.detach().double().clone() for p in live.network(0).parameters())
    accuracy = float(live.figure(0))
    assert 0 < accuracy <= 100
    loss, gradient = stepped(objective, images, 1)
    expected, slopes = 0.0, torch.zeros_like(images, dtype=torch.float64)
    for label in range(3):
        rows = (run.train.labels == label).nonzero().flatten()
        mean = run.resident.inputs(rows).double().flatten(1).mean(0)
        own = images[2 * label : 2 * label + 2].double().flatten(1)
        apart = own.mean(0) - mean
        chances = (own @ weight.T + bias).softmax(1)
        expected += float(apart @ apart) - 0.5 * accuracy * float(chances[:, label].log().mean())
        wrong = chances - torch.eye(3, dtype=torch.float64)[label]
        slope = 2 / 2 * apart + 0.5 * accuracy / 2 * wrong @ weight
        slopes[2 * label : 2 * label + 2] = slope.view(2, *run.shape)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(gradient.double(), slopes, rtol=1e-4, atol=1e-4)


def test_the_queue_begins_with_three_and_gets_one_every_so_many_steps(made_up):
    run = made_up(
        match="distribution",
        networks="queue",
        queue=5,
        queue_every=3,
        queue_trained=2,
        queue_steps=4,
        batch_network=5,
    )
    objective, images = begun(run)
    live, shard = objective.source.live, objective.shards()[0]
    ages = [0, 0, 0]  # on paper
    for step in range(10):
        if step % 3 == 0:
            ages = [*ages, 0][-5:]
        stepped(objective, images, step)
        for index in torch.randperm(
            len(ages), generator=run.generator("trained networks", shard.index, step)
        )[:2]:
            ages[index] += 4
        assert live.ages == ages
    assert len(ages) == 5
    assert sum(ages) < 10 * 2 * 4  # the oldest took theirs with them


def test_networks_are_trained_on_real_images_and_get_better(made_up):
    run = made_up(
        match="distribution",
        networks="queue",
        queue=1,
        queue_every=100,
        queue_trained=1,
        queue_steps=5,
        batch_network=24,
        lr_network=0.1,
    )
    objective, images = begun(run)
    found = []
    for step in range(6):
        stepped(objective, images, step)
        found.append(float(objective.source.live.figure(0)))
    assert found[-1] > 95 > found[0]


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_a_step_per_class_with_momentum_is_one_step_at_a_larger_rate(momentum):
    """The translation of rates: a gradient, then a step of each of the other classes without."""
    classes, rate = 10, 0.2
    gradient = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([image], lr=rate, momentum=momentum)
    for turn in range(classes):
        image.grad = gradient.clone() if turn == 0 else torch.zeros_like(gradient)
        optimiser.step()
    whole = -rate / (1 - momentum) * gradient
    torch.testing.assert_close(image.detach(), whole * (1 - momentum**classes))
    assert (image.detach() - whole).abs().max() <= momentum**classes * whole.abs().max() * 1.001


def test_idm_is_its_released_code_with_one_step_for_all_classes():
    options = IDM.options
    assert options["lr_images"] == 0.2 / (1 - 0.5)
    assert options["momentum"] == 0
    found = resolve(Request("idm", preset="none")).options
    names = ("queue", "queue_every", "queue_trained", "queue_steps", "batch_network", "updates")
    assert [found[name] for name in names] == [100, 30, 2, 10, 256, 20_000]
    assert (found["momentum_network"], found["decay_network"]) == (0.9, 5e-4)


@pytest.mark.parametrize(
    ("method", "setting", "word"),
    [
        ("dm", "class_weight=1", "networks=queue"),
        ("dsa", "networks=queue class_weight=1", "match=distribution"),
        ("dm", "calibration=1", "networks=pairs"),
        ("idm", "train_on=real", "leave it out"),
    ],
)
def test_options_that_know_nothing_of_each_other_are_refused(method, setting, word):
    with pytest.raises(DdkitError, match=word) as error:
        resolve(Request(method, settings=setting.split(), preset="none"))
    assert "\n" not in str(error.value)

"""One step and several of them, against loops by hand; what a stop changes; memory."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from ddkit_matching.networks import train_on_images
from ddkit_matching.objective import MatchingObjective
from torch import Tensor, nn

from ddkit import DdkitError, Run, load
from ddkit.data.augmentation.dsa import DsaParameters, draw_dsa
from ddkit.pipeline import distill as pipeline
from ddkit.runtime import interrupt
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.memory import PeakMemory
from ddkit.runtime.seeds import derive
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.engine import Engine

BATCH_NORM = "convnet:depth=2:width=8:norm=batch"
MATCHES = ("gradient", "distribution")


def start_of(objective: MatchingObjective) -> Tensor:
    return objective.initialise(objective.shards()[0])["images"].value


def stepped(objective: MatchingObjective, images: Tensor, step: int = 0) -> tuple[Tensor, Tensor]:
    """Return the loss of a step and the gradient of the images."""
    images = images.clone().requires_grad_()
    loss = objective.loss(objective.shards()[0], {"images": images}, step)
    return loss.detach(), torch.autograd.grad(loss, images)[0]


def fresh(run: Run, step: int = 0) -> nn.Module:
    """Return the network that a step begins with, as it was drawn."""
    return run.network(run.generator("network", 0, step))


def gradient_by_hand(network: nn.Module, real: Tensor, own: Tensor, label: int) -> Tensor:
    """Return Eq. 9 of one class, node by node."""
    sides = []
    weights = [weight for weight in network.parameters() if weight.dim() > 1]
    for images in (own, real):
        loss = F.cross_entropy(network(images), torch.full((len(images),), label))
        sides.append(torch.autograd.grad(loss, weights, create_graph=True))
    total = torch.zeros((), dtype=own.dtype)
    for layer, target in zip(*sides, strict=True):
        for a, b in zip(layer, target.detach(), strict=True):
            total = total + 1 - (a * b).sum() / (a.norm() * b.norm() + 1e-6)
    return total


def distribution_by_hand(network: nn.Module, real: Tensor, own: Tensor, label: int) -> Tensor:
    """Return the squared distance of mean features of one class."""
    first, second = (network.flatten(network.features(images)).mean(0) for images in (real, own))
    return (first.detach() - second).square().sum()


BY_HAND: dict[str, Callable[..., Tensor]] = {
    "gradient": gradient_by_hand,
    "distribution": distribution_by_hand,
}


def class_images(run: Run, label: int) -> Tensor:
    rows = (run.train.labels == label).nonzero().flatten()
    return run.resident.inputs(rows).double()


@pytest.mark.parametrize("match", MATCHES)
def test_a_step_sums_the_losses_of_the_classes(made_up, match):
    run = made_up(match=match)  # 8 images of each of 3 classes: a batch holds them all
    objective = MatchingObjective(run)
    images = start_of(objective)
    network = fresh(run).double()
    own = images.double().requires_grad_()
    expected = sum(
        BY_HAND[match](network, class_images(run, label), own[2 * label : 2 * label + 2], label)
        for label in range(3)
    )
    loss, gradient = stepped(objective, images)
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-3)
    (slope,) = torch.autograd.grad(expected, own)
    assert slope.flatten(1).norm(dim=1).min() > 0
    assert (gradient - slope).norm() < 1e-3 * slope.norm()


@pytest.mark.parametrize("match", MATCHES)
def test_real_and_synthetic_images_of_a_class_are_augmented_alike(made_up, match):
    run = made_up(match=match, augmentation="dsa", config={"ipc": 8})
    objective = MatchingObjective(run)
    images = start_of(objective)  # each class has all its real images, in another order
    for step in range(6):
        loss, _ = stepped(objective, images, step)
        assert loss < 0.01
    other = MatchingObjective(made_up(match=match, augmentation="dsa", config={"ipc": 4}))
    assert stepped(other, start_of(other))[0] > 0.1


def test_classes_and_steps_have_augmentations_of_their_own(made_up, monkeypatch):
    applied = []

    def noted(images: Tensor, parameters: DsaParameters) -> Tensor:
        ((_, angles),) = parameters.steps
        assert len(angles) == len(images)
        applied.append(angles.unique())
        return images

    monkeypatch.setattr("ddkit_matching.objective.apply_dsa", noted)
    turned = partial(draw_dsa, strategy="rotate")
    monkeypatch.setattr("ddkit_matching.objective.draw_dsa", turned)
    objective = MatchingObjective(made_up(augmentation="dsa", match="distribution"))
    images = start_of(objective)
    for step in range(2):
        stepped(objective, images, step)
    assert all(len(angles) == 1 for angles in applied)  # one set for all images
    assert len({float(angle) for angle in applied}) == 6  # of 3 classes in 2 steps
    for angle, same in zip(applied[::2], applied[1::2], strict=True):
        assert float(angle) == float(same)  # real, then synthetic


def test_a_batch_holds_different_real_images_of_one_class_and_others_in_the_next_step(made_up):
    run = made_up(batch_real=5)
    objective = MatchingObjective(run)
    shard = objective.shards()[0]
    drawn = [objective._drawn("real images", shard, step, 1, 5) for step in range(4)]
    for rows in drawn:
        assert len(rows.unique()) == 5
        assert (run.train.labels[rows] == 1).all()
    assert len({tuple(rows.tolist()) for rows in drawn}) == 4


def test_a_network_serves_outer_loop_steps_and_is_trained_in_between(made_up):
    run = made_up(outer_loop=3, inner_epochs=2, lr_network=0.1, updates=6)
    objective = MatchingObjective(run)
    images = start_of(objective)
    expected = fresh(run)
    for step in range(6):
        if step == 3:
            expected = fresh(run, 3)
        elif step:
            seed = derive(run.config.seed, "network training", 0, step)
            classes = torch.arange(6) // 2
            train_on_images(expected, images, classes, objective.options, seed, flip=True)
        stepped(objective, images, step)
        state = objective.state_dict()
        for name, tensor in expected.state_dict().items():
            assert torch.equal(state[name], tensor), (step, name)
        images = images + 0.1


def test_distributions_are_matched_in_a_network_of_each_steps_own_with_constant_weights(made_up):
    run = made_up(match="distribution", outer_loop=3)
    objective = MatchingObjective(run)
    for step in range(3):
        stepped(objective, start_of(objective), step)
        assert not any(weight.requires_grad for weight in objective._network.parameters())
        assert torch.equal(objective._network.classifier.weight, fresh(run, step).classifier.weight)
    assert objective.state_dict() == {}


def test_updates_are_sgd_with_momentum(made_up, synthesised):
    run = made_up(updates=3, lr_images=0.5)
    synthesised(run, snapshot_every=1)
    objective = MatchingObjective(run)
    images = start_of(objective)
    velocity = torch.zeros_like(images)
    for step in range(3):
        velocity = 0.5 * velocity + stepped(objective, images, step)[1]
        images = images - 0.5 * velocity
        path = next(run.folder.glob(f"snapshots/step-{step + 1:06d}/*"))
        torch.testing.assert_close(TensorFile(path)["images"], run.space.decode(images))


def test_images_leave_the_range_of_pixels(matching_run):
    run = matching_run("lr_images=50")
    images = load(pipeline.distill(run.config, run.folder)).synthetic().images
    assert images.dtype == torch.float32
    assert images.max() > 1.1
    assert images.min() < -0.1


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        ("convnet:depth=2:width=8", ("updates=7", "outer_loop=4", "augmentation=dsa")),
        (BATCH_NORM, ("updates=5", "outer_loop=3", "inner_epochs=2")),
        (BATCH_NORM, ("updates=3", "match=distribution", "augmentation=dsa")),
    ],
)
def test_a_run_that_was_stopped_ends_in_the_same_bytes(
    matching_run, monkeypatch, request_stop, settings, network
):
    run = matching_run(*settings, network=network, ipc=2)
    whole = pipeline.distill(run.config, run.folder).read_bytes()
    loss = MatchingObjective.loss
    losses = []

    def stopping(self, shard, leaves, step):  # type: ignore[no-untyped-def]
        losses.append(step)
        value = loss(self, shard, leaves, step)
        if step == 1:
            request_stop()  # in the middle of an outer loop
        return value

    folder = run.folder.parent / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(MatchingObjective, "loss", stopping)
        with pytest.raises(Stopped):
            pipeline.distill(run.config, folder)
        interrupt._requested.clear()
        resumed = pipeline.distill(run.config, folder)
    assert losses == list(range(run.options.updates))
    assert resumed.read_bytes() == whole


def test_groups_know_nothing_of_each_other(matching_run):
    run = matching_run("outer_loop=3", "inner_epochs=1", ipc=4, groups=2)
    files = []
    for order in ([0, 1], [1, 0]):
        work = replace(run, folder=run.folder.with_name(str(order)))
        objective = MatchingObjective(work)
        shards = objective.shards()
        objective.shards = lambda shards=shards, order=order: [shards[i] for i in order]
        engine = Engine(work, objective)
        engine.synthesise()
        files.append([TensorFile(engine.file(shard).path) for shard in shards])
    for first, second in zip(*files, strict=True):
        assert torch.equal(first["images"], second["images"])
        assert (first["images"] != first["initial"]).flatten(1).any(1).all()


@pytest.mark.parametrize("match", MATCHES)
def test_with_batch_norm_classes_stay_apart(made_up, match):
    objective = MatchingObjective(made_up(match=match, config={"network": BATCH_NORM}))
    images = start_of(objective)
    _, before = stepped(objective, images)
    images[2:] += 1  # two other classes
    _, after = stepped(objective, images)
    assert torch.equal(before[:2], after[:2])
    assert not torch.equal(before[2:], after[2:])
    network = objective._network
    real = network.features[0].conv(objective.run.resident.inputs(torch.arange(24))).detach()
    found = network.features[0].norm.running_mean  # of all 24 real images
    torch.testing.assert_close(found, real.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["convnet:depth=2:width=8", BATCH_NORM])
@pytest.mark.parametrize(
    "settings",
    [
        {"match": "distribution"},
        {"match": "gradient", "outer_loop": 3, "inner_epochs": 2},
    ],
)
def test_a_step_waits_for_nothing_and_sends_no_more_for_more_classes(
    made_up, make_split, away, settings, network
):
    copies = []
    for classes in (2, 6):
        run = made_up(split=make_split(classes=classes), config={"network": network}, **settings)
        images = start_of(MatchingObjective(run)).to(away.device)
        run = replace(run, device=away.device, space=run.space.to(away.device))
        objective = MatchingObjective(run)
        stepped(objective, images)  # what is sent once is there
        away.sent.clear()
        away.waited.clear()
        stepped(objective, images, 1)  # "meta" raises where a value would be read
        assert away.waited == []
        copies.append(len(away.sent))
    assert copies[0] == copies[1]


@pytest.mark.parametrize("match", MATCHES)
def test_memory_does_not_follow_the_number_of_classes(made_up, make_split, match):
    peaks = {}
    for classes in (2, 8):
        objective = MatchingObjective(made_up(split=make_split(classes=classes), match=match))
        images = start_of(objective)
        stepped(objective, images)  # what is made once is made
        with PeakMemory(torch.device("cpu")) as memory:
            stepped(objective, images)
        peaks[classes] = memory.peak - 3 * images.nbytes  # the images, a copy, their gradient
    assert peaks[8] < 1.05 * peaks[2]


@pytest.mark.parametrize("setting", ["lr_images=1e30", "lr_network=1e30"])
def test_rates_far_too_large_end_in_one_line_that_says_what_to_do(
    matching_run, synthesised, setting
):
    run = matching_run("outer_loop=4", "inner_epochs=3", "match=gradient", setting, ipc=2)
    with pytest.raises(DdkitError) as error:
        synthesised(run)
    assert "lower" in str(error.value)
    assert setting.split("=")[0] in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(run.folder.rglob("shard-00000.safetensors"))

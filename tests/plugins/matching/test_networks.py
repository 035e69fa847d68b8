"""The network that images are matched in: how it is trained, and what its norms know."""

import pytest
import torch
import torch.nn.functional as F
from ddkit_matching.networks import freeze, train_on_images
from ddkit_matching.options import MatchingOptions
from torch import nn

from ddkit.networks import batch_norms
from ddkit.training.loop import Diverged

BATCH_NORM = "convnet:depth=2:width=8:norm=batch"


def options(**values) -> MatchingOptions:
    return MatchingOptions(inner_epochs=3, lr_network=0.1, **values)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3))


def images(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, 1, 4, 4), torch.arange(count) % 3


def test_training_is_plain_gradient_descent_on_all_images():
    trained, by_hand = network(), network().double()
    inputs, classes = images()
    train_on_images(trained, inputs, classes, options(), seed=0, flip=True)
    for _ in range(3):
        by_hand.zero_grad()
        F.cross_entropy(by_hand(inputs.double()), classes).backward()
        with torch.no_grad():
            for weight in by_hand.parameters():
                weight -= 0.1 * weight.grad
    for found, expected in zip(trained.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def seen_by_training(inputs: torch.Tensor, **values) -> list[torch.Tensor]:
    """Return the inputs of each step of a training."""
    seen: list[torch.Tensor] = []
    net, classes = network(), images()[1]
    net.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().clone()))
    train_on_images(net, inputs, classes, options(**values), seed=0, flip=True)
    return seen


def test_each_epoch_shows_every_image_once_in_another_order():
    inputs, _ = images()
    steps = seen_by_training(inputs, batch_network=2)
    assert [len(step) for step in steps] == [2] * 9
    orders = []
    for epoch in range(3):
        shown = torch.cat(steps[3 * epoch : 3 * epoch + 3])
        order = (shown[:, None] == inputs[None]).flatten(2).all(2).int().argmax(1).tolist()
        assert sorted(order) == list(range(6))
        orders.append(order)
    assert orders[0] != orders[1]


def test_with_dsa_images_are_augmented_each_by_itself():
    inputs = torch.randn(1, 1, 4, 4).expand(6, -1, -1, -1)
    plain = seen_by_training(inputs)
    augmented = seen_by_training(inputs, augmentation="dsa")
    assert all((step == step[0]).all() for step in plain)
    assert any((step != step[0]).any() for step in augmented)


def test_the_same_seed_gives_the_same_weights():
    states = []
    for seed in (0, 0, 1):
        net, (inputs, classes) = network(), images()
        train_on_images(net, inputs, classes, options(augmentation="dsa"), seed, flip=True)
        states.append(net[1].weight.detach().clone())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_rate_far_too_large_diverges():
    inputs, classes = images()
    wild = MatchingOptions(inner_epochs=3, lr_network=1e30)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Linear(4, 3))
    with pytest.raises(Diverged):
        train_on_images(linear, inputs, classes, wild, seed=0, flip=True)


def test_batch_norms_get_the_statistics_of_real_images_and_lose_their_own(made_up):
    work = made_up(config={"network": BATCH_NORM})
    net = work.network(work.generator("test"))
    net(torch.full((4, 1, 8, 8), 7.0))  # statistics that must not stay
    freeze(work, net, torch.arange(24), seed=0)
    assert not net.training
    features = net.features[0].conv(work.resident.inputs(torch.arange(24))).detach()
    norm = batch_norms(net)[0]
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, features.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_statistics_of_many_images_are_averaged_over_batches(made_up, monkeypatch):
    monkeypatch.setattr("ddkit_matching.networks.NORM_BATCH", 8)
    work = made_up(config={"network": BATCH_NORM})
    net = work.network(work.generator("test"))
    freeze(work, net, torch.arange(24), seed=0)
    features = net.features[0].conv(work.resident.inputs(torch.arange(24))).detach()
    norm = batch_norms(net)[0]
    expected = torch.stack([part.var((0, 2, 3)) for part in features.split(8)]).mean(0)
    torch.testing.assert_close(norm.running_var, expected, rtol=1e-4, atol=1e-5)

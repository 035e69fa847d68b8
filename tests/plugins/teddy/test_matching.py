"""Eq. 7 against values computed by hand and by plain slow loops."""

import pytest
import torch
from ddkit_teddy.matching import (
    Reference,
    forward_with_features,
    matched_layers,
    running_references,
    statistics_distance,
    teddy_loss,
)
from torch import nn

from ddkit import DdkitError


def small_network(seed: int) -> nn.Module:
    """Conv, BN, ReLU, conv, BN, linear, in float64 with made-up running statistics, frozen."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 9, 3),
    ).double()
    for layer in matched_layers(network):
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.5, 2)
        nn.init.uniform_(layer.weight, 0.5, 1.5)
    return network.eval().requires_grad_(False)


def slow_eq7(network, images, classes, bn_weight, ce_weight, first_bn, unbiased):
    """Eq. 7 for one member, one layer, channel, image and pixel at a time."""
    total = torch.zeros((), dtype=torch.float64)
    x = images
    layer_number = 0
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            squares_mean, squares_variance = 0.0, 0.0
            for channel in range(x.shape[1]):
                values = x[:, channel].reshape(-1)
                n = len(values)
                mean = sum(values) / n
                variance = sum((value - mean) ** 2 for value in values) / (n - 1 if unbiased else n)
                squares_mean = squares_mean + (mean - module.running_mean[channel]) ** 2
                squares_variance = squares_variance + (variance - module.running_var[channel]) ** 2
            distance = squares_mean**0.5 + squares_variance**0.5
            total = total + bn_weight * (first_bn if layer_number == 0 else 1.0) * distance
            layer_number += 1
        x = module(x)
    for row, label in zip(x, classes, strict=True):
        log_partition = torch.log(sum(torch.exp(value) for value in row))
        total = total - ce_weight * (row[label] - log_partition) / len(classes)
    return total


@pytest.mark.parametrize("unbiased", [True, False])
def test_loss_and_gradient_equal_a_slow_loop_over_members(unbiased):
    networks = [small_network(1), small_network(2)]
    images = torch.rand(6, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    weights = {"bn_weight": 0.3, "ce_weight": 0.7, "first_bn": 10.0, "unbiased": unbiased}
    loss = teddy_loss(
        networks, [running_references(n) for n in networks], images, classes, **weights
    )
    slow = sum(slow_eq7(n, images, classes, **weights) for n in networks) / 2
    torch.testing.assert_close(loss, slow, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(loss, images)
    (expected,) = torch.autograd.grad(slow, images)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_loss_gradient_passes_gradcheck():
    network = small_network(3)
    images = torch.rand(4, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 1, 2, 0])
    references = [running_references(network)]
    assert torch.autograd.gradcheck(
        lambda x: teddy_loss([network], references, x, classes), images, atol=1e-6
    )


def test_distance_of_hand_computed_features():
    # two images, two channels, one position: means (2, 0), unbiased variances (2, 0)
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0]]).view(2, 2, 1)
    reference = Reference(torch.tensor([2.0, 3.0]), torch.tensor([2.0, 4.0]))
    distance = statistics_distance(features, reference, torch.tensor([0, 1]))
    assert distance.item() == pytest.approx(3 + 4)
    biased = statistics_distance(features, reference, torch.tensor([0, 1]), unbiased=False)
    assert biased.item() == pytest.approx(3 + (1 + 16) ** 0.5)


def test_class_wise_distance_of_hand_computed_features():
    # class 0: images (0, 0), (2, 0): mean (1, 0); class 2: image (5, 1)
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 1.0]]).view(3, 2, 1)
    class_means = torch.tensor([[1.0, 2.0], [9.0, 9.0], [2.0, 5.0]])
    variance = features.squeeze(2).var(0)
    reference = Reference(torch.zeros(2), variance - torch.tensor([3.0, 4.0]), class_means)
    distance = statistics_distance(features, reference, torch.tensor([0, 0, 2]))
    # gaps: (0, -2) of norm 2 and (3, -4) of norm 5, averaged; variances differ by (3, 4), norm 5
    assert distance.item() == pytest.approx((2 + 5) / 2 + 5)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_means_of_classes_and_of_all_images_may_count_both(share):
    features = torch.tensor([[0.0], [2.0], [7.0]]).view(3, 1, 1)  # means 1 and 7, 3 over all
    class_means = torch.tensor([[2.0], [12.0]])
    reference = Reference(torch.tensor([5.0]), features.var().view(1), class_means, share)
    distance = statistics_distance(features, reference, torch.tensor([0, 0, 1]))
    assert distance.item() == pytest.approx(share * (1 + 5) / 2 + (1 - share) * 2)


def test_inputs_of_convolutions_are_matched_where_they_have_references():
    network = small_network(6)
    images = torch.rand(4, 2, 5, 5, dtype=torch.float64)
    classes = torch.tensor([0, 1, 2, 0])
    norms = running_references(network)
    added = Reference(torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4]))
    found = teddy_loss([network], [[*norms, added]], images, classes)
    variance, mean = torch.var_mean(images, dim=(0, 2, 3))
    more = (mean - added.mean).norm() + (variance - added.variance).norm()
    torch.testing.assert_close(found, teddy_loss([network], [norms], images, classes) + more)


def test_class_wise_means_average_over_positions_too():
    features = torch.tensor([[[1.0, 3.0]], [[5.0, 7.0]]])  # two images, one channel, two positions
    reference = Reference(
        torch.zeros(1), features.var() * torch.ones(1), torch.tensor([[2.0], [0.0]])
    )
    distance = statistics_distance(features, reference, torch.tensor([0, 1]))
    assert distance.item() == pytest.approx((0 + 6) / 2)


def test_features_are_the_inputs_of_batch_norms_in_order():
    network = small_network(4)
    images = torch.rand(3, 2, 5, 5, dtype=torch.float64)
    logits, features = forward_with_features(network, images)
    first = network[0](images)
    second = network[3](network[2](network[1](first)))
    torch.testing.assert_close(features[0], first)
    torch.testing.assert_close(features[1], second)
    torch.testing.assert_close(logits, network(images))
    assert not any(layer._forward_pre_hooks for layer in network.modules())


def test_a_network_without_batch_norm_is_refused_with_a_remedy():
    with pytest.raises(DdkitError, match=r"has none.*--network convnet:norm=batch"):
        matched_layers(nn.Sequential(nn.Conv2d(1, 1, 1), nn.GroupNorm(1, 1)))

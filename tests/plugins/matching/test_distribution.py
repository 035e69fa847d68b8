"""The distance between mean features, against a loop by hand and finite differences."""

import pytest
import torch
from ddkit_matching.distribution import distribution_loss
from torch import Tensor, nn

from ddkit import DdkitError


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()


def test_the_loss_is_the_squared_distance_of_mean_features():
    net, real, synthetic = network(), noise(5, 1, 4, 4), noise(2, 1, 4, 4, seed=1)
    means = []
    for images in (real, synthetic):
        features = [net[:3](image.unsqueeze(0)).flatten().tolist() for image in images]
        means.append([sum(column) / len(features) for column in zip(*features, strict=True)])
    expected = sum((a - b) ** 2 for a, b in zip(*means, strict=True))
    found = distribution_loss(net, real, synthetic, 0).detach()
    assert found.shape == ()
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_the_slope_of_the_images_is_that_of_finite_differences():
    net, real = network(), noise(5, 1, 4, 4)
    synthetic = noise(2, 1, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: distribution_loss(net, real, x, 0), synthetic)


def test_neither_the_class_nor_the_classifier_matters():
    net, real, synthetic = network(), noise(5, 1, 4, 4), noise(2, 1, 4, 4, seed=1)
    before = distribution_loss(net, real, synthetic, 0)
    nn.init.zeros_(net[3].weight)
    assert torch.equal(distribution_loss(net, real, synthetic, 2), before)


def test_real_images_get_no_gradient():
    real = noise(5, 1, 4, 4).requires_grad_()
    distribution_loss(network(), real, noise(2, 1, 4, 4).requires_grad_(), 0).backward()
    assert real.grad is None


def test_a_network_without_features_is_refused():
    with pytest.raises(DdkitError, match="does not end in a linear layer"):
        distribution_loss(network()[:3], noise(5, 1, 4, 4), noise(2, 1, 4, 4), 0)

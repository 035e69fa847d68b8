"""The distance between gradients, against loops by hand and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from ddkit_matching.gradient import gradient_distance, gradient_loss
from torch import Tensor, nn


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def smooth() -> nn.Module:
    """Return a small network without kinks, so that finite differences mean something."""
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 3), nn.GroupNorm(3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)
    return nn.Sequential(*layers).double()


def distance_by_hand(first: Tensor, second: Tensor) -> float:
    """Return Eq. 10 of one layer, number by number."""
    total = 0.0
    for one, other in zip(first, second, strict=True):
        a, b = one.flatten().tolist(), other.flatten().tolist()
        product = sum(x * y for x, y in zip(a, b, strict=True))
        lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
        total += 1 - product / (lengths + 1e-6)
    return total


@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (4, 5), (2, 3, 4)])
def test_the_distance_of_a_layer_is_a_cosine_for_each_output_node(shape):
    first, second = noise(*shape), noise(*shape, seed=1)
    found = gradient_distance([first], [second])
    assert found.shape == ()
    assert float(found) == pytest.approx(distance_by_hand(first, second), rel=1e-12)


def test_layers_add_up():
    first, second = [noise(3, 4), noise(2, 2, 3, 3)], [noise(3, 4, seed=1), noise(2, 2, 3, 3)]
    expected = sum(distance_by_hand(a, b) for a, b in zip(first, second, strict=True))
    assert float(gradient_distance(first, second)) == pytest.approx(expected, rel=1e-12)


def test_equal_directions_are_0_apart_opposite_ones_2_and_nothing_is_1_from_everything():
    rows = noise(3, 5)
    others = torch.stack([3 * rows[0], -rows[1], torch.zeros(5).double()])
    assert float(gradient_distance([rows], [others])) == pytest.approx(0 + 2 + 1, abs=1e-5)


def test_a_node_without_gradient_gives_the_images_no_slope_that_is_not_a_number():
    rows = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    gradient_distance([rows], [noise(2, 3)]).backward()
    assert rows.grad.isfinite().all()


def test_the_loss_of_a_class_matches_weights_and_neither_biases_nor_norms():
    network, real, synthetic = smooth(), noise(5, 2, 4, 4), noise(2, 2, 4, 4, seed=1)
    expected = 0.0
    for layer in (0, 4):
        sides = []
        for images in (synthetic, real):
            network.zero_grad()
            log = network(images).log_softmax(1)
            (-log[:, 1].sum() / len(images)).backward()
            sides.append(network[layer].weight.grad.clone())
        expected += distance_by_hand(*sides)
    network.zero_grad()
    found = gradient_loss(network, real, synthetic, 1).detach()
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_the_slope_of_the_images_is_that_of_finite_differences():
    network, real = smooth(), noise(5, 2, 4, 4)
    synthetic = noise(2, 2, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gradient_loss(network, real, x, 2), synthetic)


def test_real_images_get_no_gradient():
    network, real = smooth(), noise(5, 2, 4, 4).requires_grad_()
    gradient_loss(network, real, noise(2, 2, 4, 4).requires_grad_(), 0).backward()
    assert real.grad is None


class Detour(nn.Module):
    """A network with a layer that is never called and one that nobody trains."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(3, 3)
        self.still = nn.Linear(8, 6).requires_grad_(False)
        self.last = nn.Linear(6, 3)

    def forward(self, inputs):
        return self.last(self.still(inputs.flatten(1)).tanh())


def test_weights_that_are_not_used_or_not_trained_move_nothing():
    network = Detour().double()
    real, synthetic = noise(4, 2, 2, 2), noise(2, 2, 2, 2, seed=1).requires_grad_()
    loss = gradient_loss(network, real, synthetic, 0)
    (slope,) = torch.autograd.grad(loss, synthetic)
    sides = [
        torch.autograd.grad(
            F.cross_entropy(network(x), torch.zeros(len(x)).long()), network.last.weight
        )[0]
        for x in (synthetic, real)
    ]
    idle = 3  # nodes, each 1 apart
    assert float(loss.detach()) == pytest.approx(idle + distance_by_hand(*sides))
    assert slope.abs().sum() > 0

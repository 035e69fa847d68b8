"""KIP's kernel against finite networks of the same law, and against values on paper."""

from itertools import pairwise
from math import pi, sqrt

import pytest
import torch
from ddkit_regression.tangent_fc import tangent_kernel

INPUTS = 5


def images() -> torch.Tensor:
    return torch.randn(3, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def empirical(x: torch.Tensor, depth: int, width: int, draws: int) -> torch.Tensor:
    """Return the mean tangent kernel of wide networks: W ~ N(0, 1) · √(2 / inputs), b ~ 0.1 N."""
    draw = torch.Generator().manual_seed(1)
    total = torch.zeros(len(x), len(x), dtype=torch.float64)
    sizes = [INPUTS, *[width] * depth, 1]
    for _ in range(draws):
        weights = [
            torch.randn(out, into, generator=draw, dtype=torch.float64).requires_grad_()
            for into, out in pairwise(sizes)
        ]
        biases = [
            torch.randn(out, generator=draw, dtype=torch.float64).requires_grad_()
            for out in sizes[1:]
        ]
        rows = []
        for image in x:
            seen = image
            for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                seen = seen.relu() if index else seen
                seen = sqrt(2 / weight.shape[1]) * weight @ seen + 0.1 * bias
            slopes = torch.autograd.grad(seen[0], [*weights, *biases])
            rows.append(torch.cat([slope.flatten() for slope in slopes]))
        jacobian = torch.stack(rows)
        total += jacobian @ jacobian.T / draws
    return total


@pytest.mark.parametrize(("depth", "width", "draws"), [(1, 4000, 40), (2, 700, 60)])
def test_it_is_the_limit_of_wide_networks(depth, width, draws):
    x = images()
    found = tangent_kernel(x, x, depth)
    # rounding of the mean is 1 / √(width · draws) of the largest entries
    torch.testing.assert_close(
        empirical(x, depth, width, draws), found, rtol=0, atol=0.02 * found.max().item()
    )


def test_without_hidden_layers_it_is_linear():
    x = images()
    expected = 2 * x @ x.T / INPUTS + 0.01
    torch.testing.assert_close(tangent_kernel(x, x, 0), expected, rtol=1e-14, atol=0)


def test_one_image_with_itself_and_with_its_opposite():
    x = images()[:1]
    a = 2 * (x.square().sum() / INPUTS).item() + 0.01
    found = tangent_kernel(x, x, 1).item()
    assert found == pytest.approx(2 * a / 2 + 0.01 + 2 * a / 2, rel=1e-6)  # ϑ = 0
    minus = a - 0.02  # of Σ; biases are the same, so the angle is a little below π
    angle = torch.tensor(-minus / a, dtype=torch.float64).acos().item()
    arc = (torch.tensor(angle).sin().item() + (pi - angle) * -minus / a) / (2 * pi)
    expected = 2 * a * arc + 0.01 - 2 * minus * (pi - angle) / (2 * pi)
    assert tangent_kernel(x, -x, 1).item() == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_finite_where_images_are_equal():
    x = images()
    x[1] = x[0]
    x.requires_grad_()
    tangent_kernel(x, x, 2).sum().backward()
    assert x.grad.isfinite().all()


def test_its_gradient_is_that_of_differences():
    def kernel(x):
        return tangent_kernel(x, images(), 2).sum() + tangent_kernel(x, x, 1).sum()

    apart = images().flip(1) + 0.1
    assert torch.autograd.gradcheck(kernel, apart.requires_grad_())

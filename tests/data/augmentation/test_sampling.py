from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck
from torch.func import grad as functional_grad
from torch.func import jvp, vmap

from ddkit.data.augmentation.sampling import sample

SIZES = [(8, 8), (7, 10), (5, 3), (1, 6), (16, 1)]
BORDER = [pytest.param(False, id="zeros"), pytest.param(True, id="border")]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def positions(count: int, size: tuple[int, int], seed: int = 1) -> tuple[Tensor, Tensor]:
    """Anywhere, on the image and beyond; some on a pixel's centre, some on the image's edge."""
    height, width = size
    y, x = random(2, count, height, width, seed=seed).unbind()
    y[0, 0], x[0, 0] = (2 * torch.arange(width) % (2 * height) + 1) / height - 1, -1.0
    y[0, :, 0], x[0, :, 0] = 1.0, (2 * torch.arange(height) % (2 * width) + 1) / width - 1
    return y, x


def by_torch(images: Tensor, y: Tensor, x: Tensor, border: bool) -> Tensor:
    grid = torch.stack([x, y], dim=3)
    beyond = "border" if border else "zeros"
    return F.grid_sample(images, grid, padding_mode=beyond, align_corners=False)


@pytest.mark.parametrize("border", BORDER)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("spread", [0.3, 1.0, 30.0])
def test_values_and_gradients_are_those_of_grid_sample(size, spread, border):
    images = random(6, 3, *size).requires_grad_()
    y, x = (spread * place for place in positions(6, size))
    ours, theirs = sample(images, y, x, border=border), by_torch(images, y, x, border)
    assert torch.equal(ours, theirs)
    upstream = random(6, 3, *size, seed=2)
    (own,), (expected,) = grad(ours, images, upstream), grad(theirs, images, upstream)
    torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("border", BORDER)
def test_many_samples_of_one_pixel_are_all_counted(border):
    images = random(2, 1, 4, 5).requires_grad_()
    y, x = torch.tensor([0, -0.4], dtype=torch.float64).view(2, 1, 1, 1)
    result = sample(images, y, x, border=border)  # in the second column, between two rows
    (gradient,) = grad(result.sum(), images)
    expected = torch.zeros(2, 1, 4, 5, dtype=torch.float64)
    expected[:, :, 1:3, 1] = 10  # half of each of the 20 samples
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("border", BORDER)
def test_derivatives_of_any_order_are_right(border):
    y, x = positions(2, (3, 4))

    def cubed(images: Tensor) -> Tensor:
        return sample(images, y, x, border=border) ** 3

    images = random(2, 2, 3, 4).requires_grad_()
    assert gradcheck(cubed, (images,))
    assert gradgradcheck(cubed, (images,))


@pytest.mark.parametrize("border", BORDER)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_alone_has_the_bytes_that_it_has_in_a_batch(dtype, channels, border):
    size = (9, 12)
    images, upstream = (random(50, channels, *size, seed=seed).to(dtype) for seed in (2, 3))
    y, x = (place.to(dtype) for place in positions(50, size))

    def both(rows: Tensor) -> tuple[Tensor, Tensor]:
        part = images[rows].requires_grad_()
        result = sample(part, y[rows], x[rows], border=border)
        return result.detach(), grad(result, part, upstream[rows])[0]

    whole = both(torch.arange(50))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(4))
    for rows in (*order.split(1), *order.split(7), order):
        for part, expected in zip(both(rows), whole, strict=True):
            assert torch.equal(part, expected[rows])


@pytest.mark.parametrize("border", BORDER)
def test_it_is_a_function_for_torch_func(border):
    y, x = positions(4, (5, 6))
    images, tangent = random(4, 3, 5, 6), random(4, 3, 5, 6, seed=5)
    call = partial(sample, y=y, x=x, border=border)
    expected = call(images)

    value, derivative = jvp(call, (images,), (tangent,))
    assert torch.equal(value, expected)
    torch.testing.assert_close(derivative, call(tangent))

    slope = functional_grad(lambda inputs: (call(inputs) ** 2).sum())(images)
    leaf = images.clone().requires_grad_()
    torch.testing.assert_close(slope, grad((call(leaf) ** 2).sum(), leaf)[0])

    stacked = torch.stack([images, tangent], dim=2)  # batched along its third dimension
    torch.testing.assert_close(
        vmap(call, in_dims=2)(stacked), torch.stack([expected, call(tangent)])
    )
    slopes = vmap(functional_grad(lambda inputs: (call(inputs) ** 2).sum()), in_dims=2)(stacked)
    torch.testing.assert_close(slopes[0], slope)

    def moved(shift: Tensor) -> Tensor:
        return sample(images, y + shift, x, border=border)

    shifts = random(3)
    torch.testing.assert_close(vmap(moved)(shifts), torch.stack([moved(s) for s in shifts]))

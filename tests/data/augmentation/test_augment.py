import math

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as TF

from ddkit.data.augmentation.augment import (
    crop,
    draw_boxes,
    draw_flips,
    draw_weights,
    mixup,
    random_crop,
    random_flip,
    random_resized_crop,
    resample,
)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 3, height: int = 16, width: int = 24) -> torch.Tensor:
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=gen(9))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_cuts_each_window_where_it_is_told(dtype):
    images = pictures(50).to(dtype)
    top = torch.randint(0, 16 - 5 + 1, (50,), generator=gen(1))
    left = torch.randint(0, 24 - 7 + 1, (50,), generator=gen(2))
    top[0], left[0], top[-1], left[-1] = 0, 0, 11, 17  # the corners of the batch
    expected = [
        image[:, t : t + 5, x : x + 7]
        for image, t, x in zip(images, top.tolist(), left.tolist(), strict=True)
    ]
    assert torch.equal(crop(images, top, left, 5, 7), torch.stack(expected))


def test_random_crop_shifts_each_image_by_its_own_amount_and_fills_with_black():
    images = pictures(400)
    shifts = []
    for image, cropped in zip(images, random_crop(images, gen(), padding=2), strict=True):
        padded = torch.zeros(3, 20, 28, dtype=torch.uint8)
        padded[:, 2:18, 2:26] = image
        shifts += [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(padded[:, y : y + 16, x : x + 24], cropped)
        ]
    assert len(shifts) == 400
    assert len(set(shifts)) == 25  # every shift comes up


def test_random_crop_pads_an_eighth_of_the_width_by_default():
    white = torch.full((300, 1, 32, 32), 255, dtype=torch.uint8)
    black = (random_crop(white, gen()) == 0).squeeze(1)
    assert black[:, 16, :].sum(1).max() == 4
    assert black[:, :, 16].sum(1).max() == 4


def test_random_flip_mirrors_about_half_of_the_images():
    images = pictures(400)
    flipped = random_flip(images, gen())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


def test_resample_equals_torchvisions_crop_resize_and_flip():
    images = pictures(6, height=16, width=24).double() / 255
    boxes = torch.tensor(
        [[0, 0, 16, 24], [3, 5, 8, 6], [15, 23, 1, 1], [0, 20, 16, 4], [10, 0, 5, 24], [2, 2, 7, 9]]
    )
    flips = torch.tensor([False, True, False, True, False, True])
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        expected = TF.resized_crop(images[i], top, left, height, width, [16, 24])
        expected = TF.hflip(expected) if flips[i] else expected
        fractions = boxes[i : i + 1] / torch.tensor([16, 24, 16, 24], dtype=torch.float64)
        actual = resample(images[i : i + 1], fractions, flips[i : i + 1])[0]
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("size", [(7, 7), (9, 12), (16, 5)])
def test_gradients_of_resample_are_right_and_theirs_too(size):
    boxes, flips = draw_boxes(6, size, gen()).double(), draw_flips(6, gen(1))
    boxes[0] = torch.tensor([0.0, 0.0, 1 / size[0], 1 / size[1]])  # one pixel, blown up
    assert 0 < flips.sum() < 6
    images = torch.rand(6, 2, *size, dtype=torch.float64, generator=gen(2)).requires_grad_()

    def squared(images: torch.Tensor) -> torch.Tensor:
        return resample(images, boxes, flips) ** 2

    assert gradcheck(squared, (images,), fast_mode=True)
    assert gradgradcheck(squared, (images,), fast_mode=True)


def test_resampled_alone_an_image_and_its_gradient_have_the_bytes_they_have_in_a_batch():
    boxes, flips = draw_boxes(40, (9, 12), gen()), draw_flips(40, gen(1))
    images = torch.rand(40, 3, 9, 12, generator=gen(2))
    upstream = torch.randn(40, 3, 9, 12, generator=gen(3))

    def both(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        part = images[rows].requires_grad_()
        result = resample(part, boxes[rows], flips[rows])
        return result.detach(), grad(result, part, upstream[rows])[0]

    whole = both(torch.arange(40))
    order = torch.randperm(40, generator=gen(4))
    for rows in (*order.split(1), *order.split(7)):
        for part, expected in zip(both(rows), whole, strict=True):
            assert torch.equal(part, expected[rows])


@pytest.mark.parametrize("size", [(32, 32), (16, 64)])
def test_boxes_are_distributed_as_torchvisions(size):
    boxes = draw_boxes(4000, size, gen()) * torch.tensor([*size, *size])
    torch.testing.assert_close(boxes, boxes.round(), rtol=0, atol=1e-4)  # whole pixels
    torch.manual_seed(0)
    image = torch.zeros(1, *size)
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    )
    for ours, other in zip(boxes.T, theirs.float().T, strict=True):
        spread = other.std() / math.sqrt(4000)
        assert abs(ours.mean() - other.mean()) < 5 * spread
        assert abs(ours.std() - other.std()) < 0.07 * other.std()


def test_boxes_are_as_often_wide_as_they_are_tall():
    height, width = draw_boxes(20_000, (64, 64), gen(), scale=(0.3, 0.5))[:, 2:].T
    assert abs((width / height).log().mean()) < 0.01  # uniform in the ratio: 0.028


@pytest.mark.parametrize("size", [(4, 64), (64, 4)])
def test_where_no_box_fits_the_largest_central_one_is_taken(size):
    boxes = draw_boxes(5, size, gen(), scale=(1.0, 1.0)) * torch.tensor([*size, *size])
    theirs = RandomResizedCrop.get_params(torch.zeros(1, *size), [1.0, 1.0], [3 / 4, 4 / 3])
    torch.testing.assert_close(boxes, torch.tensor(theirs).float().expand(5, 4))


def test_random_resized_crop_gives_every_image_its_own_box():
    images = torch.rand(1, 1, 16, 24, generator=gen(3)).expand(200, 1, 16, 24)
    cropped = random_resized_crop(images, gen())
    assert len(cropped.unique(dim=0)) > 180
    assert cropped.min() >= images.min()
    assert cropped.max() <= images.max()


def test_mixup_blends_each_image_with_its_partner_by_its_own_weight():
    images = torch.rand(40, 2, 3, 3, generator=gen(4))
    mixed, partner, weight = mixup(images, gen())
    for i in range(40):
        expected = weight[i] * images[i] + (1 - weight[i]) * images[partner[i]]
        torch.testing.assert_close(mixed[i], expected)
    assert sorted(partner.tolist()) == list(range(40))
    assert len(weight.unique()) == 40


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_weights_have_the_moments_of_the_beta_distribution(alpha):
    weight = draw_weights(20_000, gen(), alpha)
    assert abs(weight.mean() - 0.5) < 0.01
    assert abs(weight.var() - 1 / (4 * (2 * alpha + 1))) < 0.005


@pytest.mark.parametrize(
    "augment",
    [random_crop, random_flip, lambda x, g: random_resized_crop(x.float(), g)],
    ids=["crop", "flip", "rrc"],
)
def test_equal_generators_give_equal_bytes(augment):
    images = pictures(30)
    assert torch.equal(augment(images, gen(5)), augment(images, gen(5)))
    assert not torch.equal(augment(images, gen(5)), augment(images, gen(6)))

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from ddkit.data.dsa import OPERATIONS, DsaParameters, apply_dsa, draw_dsa
from ddkit.errors import DdkitError

SIZE = (9, 12)
COUNT = 24


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(COUNT, 3, *SIZE, dtype=dtype, generator=gen(5))


def one(operation: str, seed: int = 0) -> DsaParameters:
    return draw_dsa(COUNT, SIZE, gen(seed), strategy=operation)


def each(operation: str):
    """Yield (image, result, parameters of this image) for every image."""
    images, parameters = inputs(), one(operation)
    assert parameters.operation == operation
    for i, result in enumerate(apply_dsa(images, parameters)):
        yield images[i], result, parameters[torch.tensor([i])]


def test_color_is_brightness_then_saturation_then_contrast():
    for image, result, p in each("color"):
        image = image + p.brightness.double()
        grey = (image[0] + image[1] + image[2]) / 3
        image = torch.stack([(c - grey) * p.saturation.double() + grey for c in image])
        mean = sum(image.flatten().tolist()) / image.numel()
        torch.testing.assert_close(result, (image - mean) * p.contrast.double() + mean)


def test_crop_moves_the_window_over_a_zero_border():
    for image, result, p in each("crop"):
        padded = F.pad(image, (2, 2, 1, 1))  # int(12 / 8 + 0.5) and int(9 / 8 + 0.5)
        y, x = p.shift[0].tolist()
        assert torch.equal(result, padded[:, 1 + y : 10 + y, 2 + x : 14 + x])


def test_cutout_zeroes_a_hole_of_half_the_sides():
    for image, result, p in each("cutout"):
        y, x = p.hole[0].tolist()
        expected = image.clone()
        for row in range(9):
            for column in range(12):
                # heights: int(4.5 + 0.5) = 5, from 2 above the centre; widths: 6, from 3 before
                if y - 2 <= row < y + 3 and x - 3 <= column < x + 3:
                    expected[:, row, column] = 0
        assert torch.equal(result, expected)


def test_flip_mirrors_the_chosen():
    for image, result, p in each("flip"):
        assert torch.equal(result, image.flip(2) if p.mirror else image)


def test_scale_samples_as_affine_grid_does():
    for image, result, p in each("scale"):
        (y, x) = p.stretch[0].tolist()
        theta = torch.tensor([[[x, 0, 0], [0, y, 0]]], dtype=torch.float64)
        grid = F.affine_grid(theta, [1, 3, *SIZE], align_corners=False)
        expected = F.grid_sample(image[None], grid, align_corners=False)[0]
        torch.testing.assert_close(result, expected)


def test_rotate_turns_a_square_as_torchvision_does():
    images = torch.rand(8, 1, 15, 15, dtype=torch.float64, generator=gen(3))
    parameters = draw_dsa(8, (15, 15), gen(), strategy="rotate")
    for image, result, angle in zip(
        images, apply_dsa(images, parameters), parameters.angle.tolist(), strict=True
    ):
        expected = TF.rotate(image, math.degrees(angle), InterpolationMode.BILINEAR)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_parameters_span_the_released_ranges():
    p = draw_dsa(4000, (32, 32), gen())

    def span(values: torch.Tensor) -> list[float]:
        return [float(values.min()), float(values.max())]

    assert span(p.brightness) == pytest.approx([-0.5, 0.5], abs=0.01)
    assert span(p.saturation) == pytest.approx([0, 2], abs=0.01)
    assert span(p.contrast) == pytest.approx([0.5, 1.5], abs=0.01)
    assert span(p.stretch) == pytest.approx([1 / 1.2, 1.2], abs=0.01)
    assert span(p.angle) == pytest.approx([-math.pi / 12, math.pi / 12], abs=0.01)
    assert span(p.shift) == [-4, 4]
    assert span(p.hole) == [0, 32]  # the hole is 16 wide: an even one may centre on the far edge
    assert span(draw_dsa(4000, (18, 18), gen()).hole) == [0, 17]  # 9 wide: on a pixel
    assert float(p.mirror.float().mean()) == pytest.approx(0.5, abs=0.03)


def test_single_mode_draws_every_operation_and_flip_can_be_left_out():
    drawn = {draw_dsa(1, SIZE, gen(seed)).operation for seed in range(100)}
    assert drawn == set(OPERATIONS)
    drawn = {draw_dsa(1, SIZE, gen(seed), flip=False).operation for seed in range(100)}
    assert drawn == set(OPERATIONS) - {"flip"}


def test_multiple_mode_applies_all_in_order():
    parameters = draw_dsa(COUNT, SIZE, gen(), strategy="rotate_color_cutout", mode="multiple")
    assert parameters.operation == "rotate_color_cutout"
    images = expected = inputs()
    for name in ("rotate", "color", "cutout"):
        expected = apply_dsa(expected, dataclasses.replace(parameters, operation=name))
    assert torch.equal(apply_dsa(images, parameters), expected)


@pytest.mark.parametrize(("strategy", "flip"), [("", True), ("flip", False)])
def test_empty_strategy_leaves_images_alone(strategy, flip):
    parameters = draw_dsa(COUNT, SIZE, gen(), strategy=strategy, flip=flip)
    assert torch.equal(apply_dsa(inputs(), parameters), inputs())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_slicing_before_is_slicing_after(operation):
    images, parameters = inputs(torch.float32), one(operation)
    whole = apply_dsa(images, parameters)
    torch.testing.assert_close(apply_dsa(images[5:11], parameters[5:11]), whole[5:11])
    rows = torch.tensor([20, 0, 0])
    torch.testing.assert_close(apply_dsa(images[rows], parameters[rows]), whole[rows])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_are_right(operation):
    images = inputs()[:3, :, :5, :6].clone().requires_grad_()
    parameters = draw_dsa(3, (5, 6), gen(1), strategy=operation)
    assert torch.autograd.gradcheck(lambda x: apply_dsa(x, parameters), (images,))


def test_equal_generators_give_equal_bytes():
    def augmented(seed: int) -> torch.Tensor:
        return apply_dsa(inputs(), draw_dsa(COUNT, SIZE, gen(seed), mode="multiple"))

    assert torch.equal(augmented(1), augmented(1))
    assert not torch.equal(augmented(1), augmented(2))


def test_unknown_operation_is_refused():
    with pytest.raises(DdkitError, match="unknown DSA operation 'colour': did you mean 'color'"):
        draw_dsa(2, SIZE, gen(), strategy="colour_flip")


def test_unknown_mode_is_refused():
    with pytest.raises(DdkitError, match="unknown DSA mode 'S'"):
        draw_dsa(2, SIZE, gen(), mode="S")

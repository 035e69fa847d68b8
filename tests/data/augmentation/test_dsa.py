import math
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad, gradcheck, gradgradcheck

from ddkit.data.augmentation.dsa import OPERATIONS, DsaParameters, apply_dsa, draw_dsa
from ddkit.runtime.errors import DdkitError

SIZE = (9, 12)
COUNT = 24


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(COUNT, 3, *SIZE, dtype=dtype, generator=gen(5))


def one(operation: str, seed: int = 0) -> DsaParameters:
    return draw_dsa(COUNT, SIZE, gen(seed), strategy=operation)


def drawn(parameters: DsaParameters) -> torch.Tensor:
    """Return the parameters of the only operation."""
    ((_, values),) = parameters.steps
    return values


def each(operation: str):
    """Yield (image, result, parameters of this image) for every image."""
    images, parameters = inputs(), one(operation)
    assert parameters.operation == operation
    results = apply_dsa(images, parameters)
    return zip(images, results, drawn(parameters).tolist(), strict=True)


def test_color_is_brightness_then_saturation_then_contrast():
    for image, result, (brightness, saturation, contrast) in each("color"):
        image = image + brightness
        grey = (image[0] + image[1] + image[2]) / 3
        image = torch.stack([(c - grey) * saturation + grey for c in image])
        mean = sum(image.flatten().tolist()) / image.numel()
        torch.testing.assert_close(result, (image - mean) * contrast + mean)


def test_crop_moves_the_window_over_a_zero_border():
    for image, result, (y, x) in each("crop"):
        padded = F.pad(image, (2, 2, 1, 1))  # int(12 / 8 + 0.5) and int(9 / 8 + 0.5)
        assert torch.equal(result, padded[:, 1 + y : 10 + y, 2 + x : 14 + x])


def test_cutout_zeroes_a_hole_of_half_the_sides():
    for image, result, (y, x) in each("cutout"):
        expected = image.clone()
        for row in range(9):
            for column in range(12):
                # heights: int(4.5 + 0.5) = 5, from 2 above the centre; widths: 6, from 3 before
                if y - 2 <= row < y + 3 and x - 3 <= column < x + 3:
                    expected[:, row, column] = 0
        assert torch.equal(result, expected)


def test_flip_mirrors_the_chosen():
    for image, result, mirrored in each("flip"):
        assert torch.equal(result, image.flip(2) if mirrored else image)


def slowly_sampled(image: torch.Tensor, at) -> torch.Tensor:
    """Sample where `at` (y, x) → (y, x) says, from -1 to 1 between edges; beyond them is 0."""
    height, width = SIZE
    result = []
    for channel in image.tolist():

        def pixel(row: int, column: int, channel=channel) -> float:
            inside = 0 <= row < height and 0 <= column < width
            return channel[row][column] if inside else 0.0

        for row in range(height):
            for column in range(width):
                y, x = at(2 * (row + 0.5) / height - 1, 2 * (column + 0.5) / width - 1)
                y, x = (y + 1) / 2 * height - 0.5, (x + 1) / 2 * width - 0.5
                top, left = math.floor(y), math.floor(x)
                down, right = y - top, x - left
                result.append(
                    (1 - down) * (1 - right) * pixel(top, left)
                    + (1 - down) * right * pixel(top, left + 1)
                    + down * (1 - right) * pixel(top + 1, left)
                    + down * right * pixel(top + 1, left + 1)
                )
    return torch.tensor(result, dtype=image.dtype).view(3, height, width)


def test_scale_looks_further_out_or_in_along_each_axis():
    for image, result, (far_y, far_x) in islice(each("scale"), 6):
        expected = slowly_sampled(image, lambda y, x, f=far_y, g=far_x: (f * y, g * x))
        torch.testing.assert_close(result, expected)


def test_rotate_turns_the_square_that_images_are_stretched_to():
    for image, result, angle in islice(each("rotate"), 6):
        sine, cosine = math.sin(angle), math.cos(angle)
        expected = slowly_sampled(
            image, lambda y, x, s=sine, c=cosine: (s * x + c * y, c * x - s * y)
        )
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)  # angles are float32


def test_parameters_span_the_released_ranges():
    def spans(operation: str, size: tuple[int, int] = (32, 32)) -> list[list[float]]:
        values = drawn(draw_dsa(4000, size, gen(), strategy=operation)).reshape(4000, -1)
        return [[float(column.min()), float(column.max())] for column in values.T]

    brightness, saturation, contrast = spans("color")
    assert brightness == pytest.approx([-0.5, 0.5], abs=0.01)
    assert saturation == pytest.approx([0, 2], abs=0.01)
    assert contrast == pytest.approx([0.5, 1.5], abs=0.01)
    assert all(span == pytest.approx([1 / 1.2, 1.2], abs=0.01) for span in spans("scale"))
    assert spans("rotate") == [pytest.approx([-math.pi / 12, math.pi / 12], abs=0.01)]
    assert spans("crop", (32, 40)) == [[-4, 4], [-5, 5]]
    # the hole is 16 × 20: an even one may centre on the far edge; one of 9 is centred on a pixel
    assert spans("cutout", (32, 40)) == [[0, 32], [0, 40]]
    assert spans("cutout", (18, 18)) == [[0, 17], [0, 17]]
    mirrored = drawn(draw_dsa(4000, SIZE, gen(), strategy="flip"))
    assert float(mirrored.float().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_the_parameters_of_chosen_operations_are_drawn(operation):
    state = gen()
    parameters = draw_dsa(COUNT, SIZE, state, strategy=operation)
    assert [name for name, _ in parameters.steps] == [operation]
    torch.randint(1, (), generator=(alone := gen()))  # which of the one operation
    again = OPERATIONS[operation].draw(COUNT, SIZE, alone)
    assert torch.equal(drawn(parameters), again)
    assert torch.equal(state.get_state(), alone.get_state())


def test_each_image_has_parameters_of_its_own():
    for operation in OPERATIONS:
        values = drawn(one(operation)).reshape(COUNT, -1)
        assert len(values.unique(dim=0)) > (1 if operation == "flip" else COUNT // 3)


def test_single_mode_draws_every_operation_and_flip_can_be_left_out():
    names = {draw_dsa(1, SIZE, gen(seed)).operation for seed in range(100)}
    assert names == set(OPERATIONS)
    names = {draw_dsa(1, SIZE, gen(seed), flip=False).operation for seed in range(100)}
    assert names == set(OPERATIONS) - {"flip"}


def test_multiple_mode_applies_all_in_order():
    parameters = draw_dsa(COUNT, SIZE, gen(), strategy="rotate_color_cutout", mode="multiple")
    assert parameters.operation == "rotate_color_cutout"
    images = expected = inputs()
    for step in parameters.steps:
        expected = apply_dsa(expected, DsaParameters((step,)))
    assert torch.equal(apply_dsa(images, parameters), expected)


@pytest.mark.parametrize(("strategy", "flip"), [("", True), ("flip", False)])
def test_empty_strategy_leaves_images_alone(strategy, flip):
    parameters = draw_dsa(COUNT, SIZE, gen(), strategy=strategy, flip=flip)
    assert torch.equal(apply_dsa(inputs(), parameters), inputs())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_slicing_before_is_slicing_after(operation):
    images, parameters = inputs(torch.float32), one(operation)
    upstream = torch.randn(images.shape, generator=gen(8))

    def both(rows: slice | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        part = images[rows].requires_grad_()
        result = apply_dsa(part, parameters[rows])
        return result.detach(), grad(result, part, upstream[rows])[0]

    whole = both(slice(None))
    for rows in (slice(5, 11), slice(3, 4), torch.tensor([20, 0, 0])):
        for part, expected in zip(both(rows), whole, strict=True):
            assert torch.equal(part, expected[rows])


@pytest.mark.parametrize("size", [(5, 6), (4, 4), (1, 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_are_right_and_theirs_too(operation, size):
    images = torch.randn(3, 2, *size, dtype=torch.float64, generator=gen(5)).requires_grad_()
    parameters = draw_dsa(3, size, gen(1), strategy=operation)

    def squared(images: torch.Tensor) -> torch.Tensor:
        return apply_dsa(images, parameters) ** 2

    assert gradcheck(squared, (images,), fast_mode=True)
    assert gradgradcheck(squared, (images,), fast_mode=True)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_are_products_with_the_transposed_matrix(operation):
    size = (8, 11)
    unit = torch.eye(8 * 11, dtype=torch.float64).view(-1, 1, *size)
    for seed in range(20):
        parameters = draw_dsa(1, size, gen(seed), strategy=operation)
        columns = apply_dsa(unit, parameters[torch.zeros(len(unit), dtype=torch.int64)])
        base = apply_dsa(torch.zeros(1, 1, *size, dtype=torch.float64), parameters)
        matrix = (columns - base).flatten(1)  # row i: what unit image i becomes
        image = torch.randn(1, 1, *size, dtype=torch.float64, generator=gen(seed)).requires_grad_()
        upstream = torch.randn(1, 1, *size, dtype=torch.float64, generator=gen(seed + 100))
        (own,) = grad(apply_dsa(image, parameters), image, upstream)
        torch.testing.assert_close(own.flatten(), matrix @ upstream.flatten())


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

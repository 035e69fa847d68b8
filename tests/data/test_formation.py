"""Multi-formation: parts are cut out row by row and enlarged bilinearly, and packed by areas."""

import pytest
import torch
import torch.nn.functional as F

from ddkit.data.formation import packed, parts_of, unpacked


def images(count: int, side: int, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, side, side, generator=generator, dtype=torch.float64)


def enlarged(part: torch.Tensor, side: int) -> torch.Tensor:
    """Return one channel (h, h) bilinearly at (side, side), pixel centres aligned, by loops."""
    small = len(part)
    out = torch.empty(side, side, dtype=part.dtype)
    for y in range(side):
        for x in range(side):
            at = [min(max((i + 0.5) * small / side - 0.5, 0), small - 1) for i in (y, x)]
            low = [int(i) for i in at]
            high = [min(i + 1, small - 1) for i in low]
            (a, b), (wy, wx) = (low, (at[0] - low[0], at[1] - low[1]))
            out[y, x] = (1 - wy) * ((1 - wx) * part[a, b] + wx * part[a, high[1]]) + wy * (
                (1 - wx) * part[high[0], b] + wx * part[high[0], high[1]]
            )
    return out


@pytest.mark.parametrize(("side", "factor"), [(6, 2), (6, 3), (5, 2), (4, 4)])
def test_each_part_of_an_image_is_enlarged_row_by_row(side, factor):
    stored = images(2, side)
    small = -(-side // factor)
    whole = torch.full((2, 2, small * factor, small * factor), 0.5, dtype=torch.float64)
    whole[:, :, :side, :side] = stored
    found = unpacked(stored, factor)
    assert found.shape == (2 * factor**2, 2, side, side)
    for index in range(2 * factor**2):
        image, row, column = index // factor**2, index % factor**2 // factor, index % factor
        part = whole[image, :, row * small : (row + 1) * small, column * small :][..., :small]
        expected = torch.stack([enlarged(channel, side) for channel in part])
        torch.testing.assert_close(found[index], expected, atol=1e-12, rtol=0)


def test_a_factor_of_one_is_the_identity():
    stored = images(3, 5)
    assert unpacked(stored, 1) is stored
    assert packed(stored, 1) is stored
    assert torch.equal(parts_of(torch.tensor([2, 0]), 1), torch.tensor([2, 0]))


@pytest.mark.parametrize("factor", [2, 3])
def test_gradients_flow_back_by_the_transpose(factor):
    """⟨unpacked(a), b⟩ = ⟨a, unpackedᵀ(b)⟩, and unpackedᵀ is what autograd gives."""
    stored = images(2, 6).requires_grad_()
    other = torch.randn(2 * factor**2, 2, 6, 6, dtype=torch.float64)
    product = (unpacked(stored, factor) * other).sum()
    (transposed,) = torch.autograd.grad(product, stored)
    torch.testing.assert_close((stored * transposed).sum(), product, atol=1e-10, rtol=1e-12)


@pytest.mark.parametrize(("side", "factor"), [(6, 2), (6, 3), (5, 2)])
def test_packed_images_come_back_blurred(side, factor):
    """Area down, then bilinear up: of each image on its own."""
    training = images(2 * factor**2, side)
    stored = packed(training, factor)
    assert stored.shape == (2, 2, side, side)
    if side % factor == 0:
        small = side // factor
        down = training.view(-1, 2, small, factor, small, factor).mean((3, 5))
        expected = F.interpolate(down, (side, side), mode="bilinear")
        torch.testing.assert_close(unpacked(stored, factor), expected, atol=1e-12, rtol=0)


def test_images_of_one_colour_stay_so_in_any_space():
    grey = torch.tensor([0.2, -0.7]).view(2, 1, 1)  # a colour of padding for each channel
    flat = grey.expand(3, 2, 5, 5).contiguous()
    torch.testing.assert_close(unpacked(flat, 2, grey), grey.expand(12, 2, 5, 5))
    training = torch.full((4, 1, 5, 5), 0.3)
    torch.testing.assert_close(packed(training, 2), torch.full((1, 1, 5, 5), 0.3))


def test_the_parts_of_an_image_stand_together():
    assert parts_of(torch.tensor([0, 3]), 2).tolist() == [0, 1, 2, 3, 12, 13, 14, 15]

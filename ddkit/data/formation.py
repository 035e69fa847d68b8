"""Multi-formation: a stored image of factor f holds f² training images (IDC, Kim et al. 2022).

A stored image is cut into f × f parts, and each part is enlarged to the size of the whole. All of
it is linear, so gradients flow from the training images back to the stored ones.
"""

from functools import cache
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit.runtime.moving import sent

GREY = 0.5  # what fills up an image whose side the factor does not divide


def unpacked(images: Tensor, factor: int, grey: Tensor | float = GREY) -> Tensor:
    """Return the training images that stored ones hold (section 3.1 of IDC, uniform formation).

    Args:
        images: float (n, channels, height, width), pixels or standardised pixels.
        factor: f ≥ 1; at 1 the images are returned as they are.
        grey: what fills up images at the bottom and at the right where f does not divide their
            sides: a number, or one for each channel (channels, 1, 1).

    Returns:
        float (n · f², channels, height, width): the parts of an image row by row, one image after
        the other, enlarged bilinearly.
    """
    if factor == 1:
        return images
    channels, height, width = images.shape[1:]
    side = cell_size(height, width, factor)
    whole = (side[0] * factor, side[1] * factor)
    if whole != (height, width):
        below = images.new_ones(len(images), channels, whole[0] - height, width) * grey
        images = torch.cat([images, below], 2)
        beside = images.new_ones(len(images), channels, whole[0], whole[1] - width) * grey
        images = torch.cat([images, beside], 3)
    parts = images.unfold(2, side[0], side[0]).unfold(3, side[1], side[1])
    parts = parts.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels, *side)
    return enlarged(parts, (height, width))


def enlarged(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (n, channels, height, width) bilinearly at a larger size, as interpolate does.

    By one product for each side: the gradient of `F.interpolate` is added on CUDA in any order.
    """
    rows, columns = (
        sent(weights(small, large, images.dtype), images.device)
        for small, large in zip(images.shape[-2:], size, strict=True)
    )
    with torch.autocast(images.device.type, enabled=False):  # pixels keep their precision
        return rows @ images @ columns.mT


@cache
def weights(small: int, large: int, dtype: torch.dtype) -> Tensor:
    """Return the weight of each of `small` pixels in each of `large` ones: (large, small)."""
    each = F.interpolate(torch.eye(small, dtype=torch.float64)[None], large, mode="linear")
    return each[0].T.to(dtype)


def packed(images: Tensor, factor: int) -> Tensor:
    """Return stored images whose parts are these, shrunk by averaging over areas.

    `unpacked` gives each of them back blurred.

    Args:
        images: float (n · f², channels, height, width), in the order of `unpacked`.

    Returns:
        float (n, channels, height, width).
    """
    if factor == 1:
        return images
    channels, height, width = images.shape[1:]
    rows, columns = cell_size(height, width, factor)
    parts = F.interpolate(images, (rows, columns), mode="area")
    parts = parts.view(-1, factor, factor, channels, rows, columns).permute(0, 3, 1, 4, 2, 5)
    whole = parts.reshape(-1, channels, factor * rows, factor * columns)
    return whole[..., :height, :width].contiguous()


def cell_size(height: int, width: int, factor: int) -> tuple[int, int]:
    """Return the height and the width of a part of a stored image."""
    return ceil(height / factor), ceil(width / factor)


def parts_of(rows: Tensor, factor: int) -> Tensor:
    """Return the training images of stored ones: int64 (n,) → (n · f²,), one after the other."""
    parts = factor**2
    return (rows[:, None] * parts + torch.arange(parts, device=rows.device)).flatten()

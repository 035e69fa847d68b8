"""Images put together of patches (RDED, Sun et al., CVPR 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def collages(patches: Tensor, count: int, along: int, size: tuple[int, int]) -> Tensor:
    """Return images of `along` × `along` patches; the best patches are all in the first cell.

    Cell k of image j, row by row, holds patch k · count + j. Where the cells do not divide a side,
    the first ones are a pixel longer; their patches are scaled to them by nearest neighbours.

    Args:
        patches: uint8 (count · along², channels, h, w), best first, of the sides of the smallest
            cells.
        count: how many images.
        size: (height, width) of the images.

    Returns:
        uint8 (count, channels, height, width).
    """
    rows, columns = (sides(length, along) for length in size)
    cells = patches.unflatten(0, (along, along, count))
    bands = []
    for row, height in enumerate(rows):
        parts = [
            F.interpolate(cells[row, column], (height, width), mode="nearest")
            for column, width in enumerate(columns)
        ]
        bands.append(torch.cat(parts, 3))
    return torch.cat(bands, 2)


def sides(length: int, along: int) -> list[int]:
    """Return the pixels of each cell along a side of `length` pixels."""
    least, longer = divmod(length, along)
    return [least + (number < longer) for number in range(along)]

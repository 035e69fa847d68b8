"""Linear maps of images, such as bilinear sampling, whose gradients are the same bytes each time.

On CUDA torch's own backward of `grid_sample`, and of every gather, adds to memory in whatever order
its threads come by. Here an image's gradient is gathered, pixel by pixel in a fixed order.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class LinearMap(torch.autograd.Function):
    """A linear map of images and its adjoint: the derivatives of any order are these two.

    `LinearMap.apply(images, parameters, map, adjoint)` returns `map(images, parameters)`: images
    (N, channels, H, W), of which each is mapped by its own row of `parameters` (N, …), to images of
    the same shape. No gradient flows into the parameters.
    """

    @staticmethod
    def forward(
        images: Tensor,
        parameters: Tensor,
        map: Callable[[Tensor, Tensor], Tensor],
        adjoint: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        return map(images, parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, parameters, ctx.map, ctx.adjoint = inputs
        ctx.save_for_backward(parameters)
        ctx.save_for_forward(parameters)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (parameters,) = ctx.saved_tensors
        return LinearMap.apply(gradient, parameters, ctx.adjoint, ctx.map), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *others: None) -> Tensor:
        (parameters,) = ctx.saved_tensors
        mapped: Tensor = LinearMap.apply(tangent, parameters, ctx.map, ctx.adjoint)
        return mapped

    @staticmethod
    def vmap(
        info: Any, dims: tuple[int | None, ...], images: Tensor, parameters: Tensor, *maps: Any
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        batches = [
            tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((images, parameters), dims, strict=False)
        ]
        mapped = LinearMap.apply(*(batch.flatten(0, 1) for batch in batches), *maps)
        return mapped.unflatten(0, batches[0].shape[:2]), 0


def sample(images: Tensor, y: Tensor, x: Tensor, *, border: bool = False) -> Tensor:
    """Sample `images` bilinearly, each at its own positions.

    Differentiable in `images`, as often as asked for. An image's result and gradient are the same
    bytes whatever else is in the batch.

    Args:
        images: floating point (N, channels, H, W).
        y, x: positions, broadcast to (N, H, W), from -1 to 1 between the edges of the image.
        border: what lies beyond: the outermost pixels, or else 0.
    """
    # Not affine_grid: its batched product can round differently in batches of another size.
    shape = (len(images), *images.shape[2:])
    grid = torch.stack([x.expand(shape), y.expand(shape)], dim=3)
    maps = partial(_sampled, border=border), partial(_gathered, border=border)
    sampled: Tensor = LinearMap.apply(images, grid, *maps)
    return sampled


def _sampled(images: Tensor, grid: Tensor, *, border: bool) -> Tensor:
    beyond = "border" if border else "zeros"
    return F.grid_sample(images, grid, padding_mode=beyond, align_corners=False)


def _gathered(gradient: Tensor, grid: Tensor, *, border: bool) -> Tensor:
    """Return the adjoint of `_sampled`: to each pixel, what it gave, from all that it gave it to.

    What was sampled between the same four pixels lies in one cell. Sorted by cells, it is summed
    cell by cell, once for each of the four corners; each pixel is a corner of four cells.
    """
    count, channels, height, width = gradient.shape
    row, below = _cell(grid[..., 1], height, border)
    column, right = _cell(grid[..., 0], width, border)
    cells, order = (row * (width + 2) + column).flatten(1).sort(stable=True)
    numbers = torch.arange((height + 2) * (width + 2), dtype=cells.dtype, device=cells.device)
    starts = torch.searchsorted(cells, numbers.expand(count, -1).contiguous())
    first = height * width * torch.arange(count, device=cells.device).unsqueeze(1)  # of each image
    order, starts = (order + first).flatten(), (starts + first).flatten()
    # A copy always: for rows with gaps `embedding_bag` has a kernel that rounds otherwise.
    values = gradient.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
    values = values.view(-1, channels)
    total = values.new_zeros(count, height, width, channels)
    below, right = (share.flatten().index_select(0, order) for share in (below, right))
    for up, vertical in ((1, 1 - below), (0, below)):
        for left, horizontal in ((1, 1 - right), (0, right)):
            shares = vertical * horizontal
            sums = F.embedding_bag(order, values, starts, mode="sum", per_sample_weights=shares)
            corner = sums.view(count, height + 2, width + 2, channels)
            total += corner[:, up : up + height, left : left + width]
    return total.permute(0, 3, 1, 2)


def _cell(positions: Tensor, pixels: int, border: bool) -> tuple[Tensor, Tensor]:
    """Return along one axis which cell each position lies in, and the share of the pixel after it.

    Cell i, int32, lies between pixel i - 1 and pixel i; the first and the last lie outside.
    """
    first, last = (0, pixels - 1) if border else (-1, pixels)
    places = (((positions + 1) * pixels - 1) / 2).clamp(first, last)
    before = places.floor()
    return before.int() + 1, places - before

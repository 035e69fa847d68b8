"""Augmentation of whole batches: every image has its own parameters, none its own loop pass.

Images stay where they are; random numbers come from the given generator, on its own device.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit.data.augmentation.sampling import sample
from ddkit.runtime.moving import sent

TRIES = 10  # boxes drawn per image until one fits, as in torchvision


def random_crop(images: Tensor, generator: torch.Generator, padding: int | None = None) -> Tensor:
    """Shift each image by -padding … padding rows and columns; what enters is 0.

    Args:
        images: (B, channels, H, W) of any dtype; in data space 0 is black.
        padding: defaults to an eighth of the width: 4 at 32 pixels.
    """
    padding = images.shape[-1] // 8 if padding is None else padding
    shape = (2, len(images))
    offsets = torch.randint(2 * padding + 1, shape, generator=generator, device=generator.device)
    top, left = offsets.to(images.device, non_blocking=True)
    return crop(F.pad(images, (padding,) * 4), top, left, images.shape[-2], images.shape[-1])


def crop(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Cut a height x width window from each image, at its own `top` and `left`, int64 (B,).

    The windows must lie inside the images, (B, channels, >= height, >= width).
    """
    # A row of a window is a strided view of the flat batch, so a crop is a memcpy per row: faster
    # than gathering pixels, 3 times for floats and 6 for bytes. Longer runs, as of whole windows,
    # would be as fast and leave gaps; and a view of all runs counts more than 2**31 elements soon.
    count, channels, rows, columns = images.shape
    device = images.device
    planes = torch.arange(count * channels, device=device).view(count, channels, 1) * rows
    lines = planes + top.view(-1, 1, 1) + torch.arange(height, device=device)
    starts = (lines * columns + left.view(-1, 1, 1)).flatten()
    windows = images.reshape(-1).unfold(0, width, 1).index_select(0, starts)
    return windows.view(count, channels, height, width)


def random_flip(images: Tensor, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Mirror each image left to right with `probability`; (B, channels, H, W) of any dtype."""
    return mirrored(images, draw_flips(len(images), generator, probability))


def mirrored(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror the images, (B, channels, H, W) of any dtype, where `flips`, bool (B,), says so."""
    flips = flips.to(images.device, non_blocking=True)
    # Mirroring all and picking whole images is 4 times faster than `where` on pixels.
    both = torch.cat([images, images.flip(3)])
    return both.index_select(
        0, torch.arange(len(images), device=images.device) + len(flips) * flips
    )


def random_resized_crop(
    images: Tensor,
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Blow up a random box of each image to the full size, bilinearly.

    Args:
        images: floating point (B, channels, H, W).
        scale: lowest and highest share of the image's area.
        ratio: lowest and highest aspect ratio, width by height.
    """
    size = (images.shape[-2], images.shape[-1])
    boxes = draw_boxes(len(images), size, generator, scale=scale, ratio=ratio)
    return resample(images, boxes, torch.zeros(len(images), dtype=torch.bool))


def mixup(
    images: Tensor, generator: torch.Generator, alpha: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend each image with another one of the batch.

    Args:
        images: floating point (B, channels, H, W).
        alpha: both parameters of the Beta distribution of the weights, above 0.

    Returns:
        The blends, the index of each image's partner (B,) and the image's own weight (B,) in
        [0, 1]; labels mix with the same two.
    """
    count, device = len(images), images.device
    partner = torch.randperm(count, generator=generator, device=generator.device).to(device)
    weight = draw_weights(count, generator, alpha).to(device)
    return blend(images, images[partner], weight), partner, weight


def cutmix(
    images: Tensor, labels: Tensor, classes: int, generator: torch.Generator, probability: float
) -> tuple[Tensor, Tensor]:
    """Paste, with `probability`, one box of other images of the batch into all of them (CutMix).

    Args:
        images: floating point (B, channels, H, W).
        labels: int64 (B,).

    Returns:
        The images, and the share of each class in each, (B, classes), as probabilities.
    """
    device = images.device
    targets: Tensor = F.one_hot(labels, classes).to(images.dtype)
    if float(torch.rand((), generator=generator)) >= probability:
        return images, targets
    size = (images.shape[-2], images.shape[-1])
    partner = sent(torch.randperm(len(images), generator=generator), device)
    box = draw_patches(draw_weights(1, generator, 1.0), size, generator)
    share = float(uncovered(box, size))
    mixed = paste(images, images.index_select(0, partner), box)
    return mixed, share * targets + (1 - share) * targets.index_select(0, partner)


def draw_patches(weight: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw boxes of area (1 - weight) around uniform centres, cut at the image: int64 (N, 4).

    Equation 1 of CutMix (Yun et al. 2019), with one weight (N,) and one centre per box, as top,
    left, bottom and right in pixels.
    """
    extent = torch.tensor(size, device=weight.device)
    halves = ((1 - weight).sqrt().unsqueeze(1) * extent * 0.5).long()
    uniform = torch.rand(len(weight), 2, generator=generator, device=generator.device)
    centres = (uniform * extent).long()
    zero = torch.zeros_like(extent)
    return torch.cat([(centres - halves).maximum(zero), (centres + halves).minimum(extent)], dim=1)


def uncovered(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the share of an image beside each box (N, 4), float32 (N,).

    Boxes may stick out of the image, and their sides are whole pixels: what they cover counts.
    """
    top, left, bottom, right = boxes.T
    covered: Tensor = (bottom - top) * (right - left)
    return 1 - covered.float() / (size[0] * size[1])


def paste(images: Tensor, others: Tensor, boxes: Tensor) -> Tensor:
    """Return `images`, with what lies in the boxes (B or 1, 4) from `others`, of the same shape."""
    boxes = boxes.to(images.device, non_blocking=True)
    top, left, bottom, right = boxes.view(-1, 4, 1, 1).unbind(1)
    y = torch.arange(images.shape[2], device=images.device).view(1, -1, 1)
    x = torch.arange(images.shape[3], device=images.device).view(1, 1, -1)
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return torch.where(inside.unsqueeze(1), others, images)


def blend(images: Tensor, others: Tensor, weight: Tensor) -> Tensor:
    """Return weight * images + (1 - weight) * others, with one weight (B,) per image."""
    share = weight.to(images).view(-1, 1, 1, 1)
    return share * images + (1 - share) * others


def resample(images: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
    """Blow up each image's box to the full size, bilinearly, and mirror it where `flips` says so.

    Equals torchvision's crop, resize and flip. Differentiable in `images`.

    Args:
        images: floating point (B, channels, H, W).
        boxes: (B, 4), top, left, height and width as fractions of the image.
        flips: bool (B,).
    """
    boxes = boxes.to(images, non_blocking=True)
    flips = flips.to(images.device, non_blocking=True)
    height, width = images.shape[-2:]
    y = _positions(boxes[:, 0], boxes[:, 2], height)
    x = _positions(boxes[:, 1], boxes[:, 3], width)
    x = torch.where(flips.view(-1, 1), x.flip(1), x)
    return sample(images, y.unsqueeze(2), x.unsqueeze(1), border=True)


def _positions(start: Tensor, extent: Tensor, pixels: int) -> Tensor:
    """Return where along one axis to sample, (B, pixels) in [-1, 1] from edge to edge."""
    start, extent = start.unsqueeze(1), extent.unsqueeze(1)
    centres = (torch.arange(pixels, device=start.device, dtype=start.dtype) + 0.5) / pixels
    inside = start + extent * centres
    # Not beyond the centres of the box's outermost pixels: nothing outside of it shows.
    first, last = start + 0.5 / pixels, start + extent - 0.5 / pixels
    return inside.maximum(first).minimum(last) * 2 - 1


def draw_boxes(
    count: int,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Draw boxes as torchvision's RandomResizedCrop does: whole pixels, uniform area, log ratio.

    Args:
        count: how many.
        size: (height, width) of the images.

    Returns:
        float32 (count, 4): top, left, height, width as fractions of the image.
    """
    tries = draw_tries(count, generator)
    return boxes_of(tries, torch.tensor([size], device=tries.device), scale=scale, ratio=ratio)


def draw_tries(count: int, generator: torch.Generator) -> Tensor:
    """Draw what `boxes_of` makes boxes of: float64 (4, count, TRIES) in [0, 1)."""
    return torch.rand(
        4, count, TRIES, generator=generator, device=generator.device, dtype=torch.float64
    )


def boxes_of(
    tries: Tensor,
    sizes: Tensor,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Return the boxes (see `draw_boxes`) that follow from draws (see `draw_tries`).

    Args:
        tries: float64 (4, B, TRIES).
        sizes: int64 (B or 1, 2), height and width of each image, or of all.
    """
    rows, columns = sizes.to(tries).unsqueeze(2).unbind(1)
    area, shape, y, x = tries
    area = (scale[0] + (scale[1] - scale[0]) * area) * (rows * columns)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = (low + (high - low) * shape).exp()
    width, height = (area * shape).sqrt().round(), (area / shape).sqrt().round()
    fits = (width > 0) & (width <= columns) & (height > 0) & (height <= rows)
    top = (y * (rows - height + 1)).floor()
    left = (x * (columns - width + 1)).floor()
    candidates = torch.stack([top, left, height, width], dim=2)
    first = fits.int().argmax(1)  # the first that fits; 0 if none does
    chosen = candidates[torch.arange(len(first), device=first.device), first]
    central = torch.stack([_central((int(h), int(w)), ratio) for h, w in sizes.tolist()])
    boxes = torch.where(fits.any(1, keepdim=True), chosen, central.to(chosen))
    return (boxes / torch.cat([rows, columns, rows, columns], dim=1)).float()


def _central(size: tuple[int, int], ratio: tuple[float, float]) -> Tensor:
    """Return the largest central box with an allowed ratio, for images where no drawn box fits."""
    rows, columns = size
    height = min(rows, round(columns / ratio[0]))
    width = min(columns, round(rows * ratio[1]))
    return torch.tensor([(rows - height) // 2, (columns - width) // 2, height, width])


def draw_flips(count: int, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Draw which images to mirror, bool (count,)."""
    return torch.rand(count, generator=generator, device=generator.device) < probability


def draw_weights(count: int, generator: torch.Generator, alpha: float) -> Tensor:
    """Draw float32 (count,) from Beta(alpha, alpha), each in [0, 1]; `alpha` must be above 0."""
    shape = torch.full((2, count), alpha, dtype=torch.float64, device=generator.device)
    # torch.distributions.Beta takes no generator; a ratio of two gammas is the same distribution.
    own, other = torch._standard_gamma(shape, generator=generator).clamp_min(1e-300)
    weights: Tensor = own / (own + other)
    return weights.float()

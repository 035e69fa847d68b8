"""Random boxes out of images, encoded (no more is decoded than a box needs) or decoded."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ddkit.data.augmentation.augment import boxes_of, mirrored
from ddkit.data.pixels.base import USUAL, Croppable, CropShape, Pixels
from ddkit.data.pixels.decoding import ImageFile, Planes, content_of, workers
from ddkit.data.pixels.picture import Picture, Reading

PART = 16  # images that a thread crops in one go


def in_threads(crop: Callable[[slice], Tensor], count: int) -> Tensor:
    """Return the crops of `count` images, of which `crop` makes a few at once in each thread."""
    parts = [slice(first, first + PART) for first in range(0, count, PART)]
    return torch.cat(list(workers().map(crop, parts)))


def crops_of(
    files: Sequence[ImageFile],
    size: tuple[int, int],
    tries: Tensor,
    flips: Tensor,
    reading: Reading = Reading(),  # noqa: B008 - it is frozen
    shape: CropShape = USUAL,
) -> Tensor:
    """Return a random box of each file at the `size` (height, width), uint8 (B, 3, height, width).

    `tries`, `flips` and `shape` are those of `Croppable.crops`. Raises `DdkitError` for an image
    that can't be read, which it names.
    """
    stack = np.empty((len(files), 3, *size), dtype=np.uint8)
    pictures = [Picture(content_of(file), file[1]) for file in files]
    boxes = pixel_boxes(tries, [picture.size for picture in pictures], flips, shape)
    rows = zip(pictures, boxes.tolist(), flips.tolist(), strict=True)
    for number, (picture, box, flip) in enumerate(rows):
        pixels = crop(picture, box, size, reading)
        stack[number] = (pixels[:, ::-1] if flip else pixels).transpose(2, 0, 1)
    return torch.from_numpy(stack)


def random_crops(
    pixels: Pixels,
    indices: Tensor,
    tries: Tensor,
    flips: Tensor,
    device: torch.device | str = "cpu",
    shape: CropShape = USUAL,
) -> Tensor:
    """Return crops (see `Croppable.crops`), which of other pixels are cut out of what is taken."""
    if isinstance(pixels, Croppable):
        return pixels.crops(indices, tries, flips, device, shape)
    images = pixels.take(indices)
    size = (images.shape[2], images.shape[3])
    boxes = pixel_boxes(tries, [size], flips, shape)
    return mirrored(cut(images, boxes, shape.size or size), flips)


def pixel_boxes(
    tries: Tensor, sizes: Sequence[tuple[int, int]], flips: Tensor, shape: CropShape = USUAL
) -> Tensor:
    """Return the boxes to cut, int64 (B, 4): top, left, height, width in pixels of each image.

    `sizes` are (height, width) of each image, or once that of all; the rest is that of
    `Croppable.crops`. An image that is to be mirrored afterwards has its box where it lies before.
    """
    extent = torch.tensor(sizes)
    found = boxes_of(tries, extent, scale=shape.scale, ratio=shape.ratio)
    boxes = (found * extent.repeat(1, 2)).round().long()
    top, left, height, width = boxes.unbind(1)
    left = torch.where(flips, extent[:, 1] - left - width, left)
    return torch.stack([top, left, height, width], dim=1)


def crop(picture: Picture, box: Sequence[int], size: tuple[int, int], reading: Reading) -> Planes:
    """Return a box (top, left, height, width) of an upright picture at `size`, uint8 (H, W, 3).

    Bilinear, antialiased. A JPEG file is decoded at a half, a quarter or an eighth of its size
    where the box keeps at least `size`: this averages pixels in the frequency domain, and differs
    by a few of 255 levels from decoding all. At its edges a box sees its neighbours' pixels.
    """
    (top, left, height, width), (rows, columns) = box, size
    whole = picture.size
    picture.draft(math.ceil(whole[0] * rows / height), math.ceil(whole[1] * columns / width))
    image = picture.plain(reading)
    image = image if image.mode == "RGB" else image.convert("RGB")
    down, across = image.height / whole[0], image.width / whole[1]
    right, bottom = (left + width) * across, (top + height) * down
    cut = (left * across, top * down, min(right, image.width), min(bottom, image.height))
    return np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR, box=cut))


def cut(images: Iterable[Tensor], boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a box of each decoded image at `size`, uint8 (B, channels, height, width).

    Equals torchvision's crop and resize (bilinear, antialiased): a box sees nothing outside of it.

    Args:
        images: uint8 (channels, H, W) each, on one device.
        boxes: int64 (B, 4), top, left, height and width in pixels.
        size: (height, width) of the crops.
    """
    crops = []
    for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True):
        box = image[None, :, top : top + height, left : left + width]
        # On a CPU bytes take two thirds of the time of floats; CUDA scales floats only.
        box = box.float() if box.is_cuda else box
        crops.append(F.interpolate(box, size, mode="bilinear", antialias=True))
    stack = torch.cat(crops)
    return stack.round_().clamp_(0, 255).to(torch.uint8) if stack.is_cuda else stack

"""Image files to one uint8 tensor, without ever holding more than a few decoded images."""

import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ddkit.data.pixels.picture import Picture, Reading
from ddkit.runtime.errors import DdkitError, cause

ImageFile = tuple[bytes | Path, str]
"""The content of an image file, or its path; and how an error message calls it."""

Planes = npt.NDArray[np.uint8]

CHUNK = 64
SIGNED = {"BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"}
# Below this, Python's own work dominates and threads only fight for the interpreter: on 2 cores
# two threads take 1.4 times as long as one for 32x32 images, and 0.6 times for 224x224.
PIXELS_WORTH_THREADS = 128 * 128


def decode(
    encoded: Iterable[ImageFile],
    count: int,
    reading: Reading = Reading(),  # noqa: B008 - it is frozen
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Return all `count` images as uint8 (count, channels, height, width).

    One channel where all images are grey, else three. A side to read at scales and crops every
    image to a square (see `fit`); otherwise all must have the `size` (height, width), by default
    that of the first. Raises `DdkitError` for an image that can't be read, which it names, and
    where images differ in size without a side.
    """
    decoder = Decoder(reading)
    stack: Planes | None = None
    for row, (pixels, place) in enumerate(decoder.run(iter(encoded))):
        if stack is None:
            size = size or (pixels.shape[1], pixels.shape[2])
            stack = np.empty((count, len(pixels), *size), dtype=np.uint8)
        check_size(pixels, stack.shape[2:], place)
        if len(pixels) > stack.shape[1]:  # the first coloured image after grey ones
            stack = np.repeat(stack, 3, axis=1)
        stack[row] = pixels
    if stack is None:
        raise DdkitError("there are no images to read")
    return torch.from_numpy(stack)


def fit(image: Image.Image, side: int) -> Image.Image:
    """Scale the shorter side to `side` (antialiased, bilinear) and crop the centre square.

    The same sizes and offsets as torchvision's Resize and CenterCrop.
    """
    if image.size == (side, side):
        return image
    height, width = scaled((image.height, image.width), side)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (height, width) in proportion, the shorter one `side`."""
    height, width = size
    if width <= height:
        return int(side * height / width), side
    return side, int(side * width / height)


def content_of(file: ImageFile) -> bytes:
    """Return the content of an image file. Raises `DdkitError` where it can't be read."""
    source, place = file
    try:
        return source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise DdkitError(f"{place} is not a readable image ({cause(error)})") from error


@cache
def workers() -> ThreadPoolExecutor:
    """Return the threads that decode, one per core: the decoders let go of the interpreter."""
    return ThreadPoolExecutor(os.cpu_count(), "decoding")


class Decoder:
    """Decodes a stream of image files, in order."""

    def __init__(self, reading: Reading):
        self.reading = reading
        self.formats: tuple[str, ...] | None = None
        self.pixels = 0

    def run(self, encoded: Iterator[ImageFile]) -> Iterator[tuple[Planes, str]]:
        """Yield (pixels, place) for each image; large ones are decoded by a pool of threads."""
        for item in islice(encoded, 1):
            first = self.one(item)
            if self.pixels < PIXELS_WORTH_THREADS:
                yield from chain([first], map(self.one, encoded))
                return
            yield first
        while chunk := list(islice(encoded, CHUNK)):
            yield from workers().map(self.one, chunk)

    def one(self, encoded: ImageFile) -> tuple[Planes, str]:
        """Return uint8 (1 or 3, height, width), 1 where the image is grey, and its place."""
        side, place = self.reading.side, encoded[1]
        picture = Picture(content_of(encoded), place, self.formats)
        self.pixels = math.prod(picture.size)
        # The format of the last picture, where its first bytes tell it, is tried first: that halves
        # the time.
        self.formats = (found,) if (found := picture.image.format) in SIGNED else None
        if side and picture.is_huge:
            picture.draft(*scaled(picture.size, side))
        plain = picture.plain(self.reading)
        array = np.asarray(fit(plain, side) if side else plain)
        planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        return np.ascontiguousarray(planes), place


def check_size(pixels: Planes, size: tuple[int, ...], place: str) -> None:
    """Raise `DdkitError` where an image is of another than the first one's size (height, width)."""
    height, width = pixels.shape[-2:]
    if (height, width) != size:
        raise DdkitError(
            f"images differ in size: {size[1]}x{size[0]} at first, {width}x{height} in {place}; "
            "choose one size with --resize, such as --resize 64"
        )

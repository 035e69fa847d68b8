"""Pixels of more than 8 bits a channel: what a file holds, and the 8 bits that are kept."""

import re
from io import BytesIO
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from ddkit.runtime.errors import DdkitError

Form = Literal["", "values", "bytes", "upper", "floats"]
"""8 bits a channel; one channel of more; a PNG file's colours; other colours; floating point."""

DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # of cameras, scanners and files


def form_of(image: Image.Image) -> Form:
    """Return how an opened picture, not decoded yet, holds its values.

    pillow decodes the upper bytes of 16-bit colours; of PNG files it can be made to give the lower
    ones, too.
    """
    if image.mode == "F":
        return "floats"
    if image.mode == "I" or image.mode.startswith("I;16"):
        return "values"
    raw = _tile(image)
    if not re.search(r";16[BLN]", raw):
        return ""
    return "bytes" if image.format == "PNG" and raw in ("RGB;16B", "RGBA;16B") else "upper"


def values_of(image: Image.Image, form: Form, content: bytes) -> npt.NDArray[np.int64]:
    """Return the values of a picture of more than 8 bits: (height, width), or (height, width, 3).

    The lower bytes of "upper" are unknown, and the largest that there are.
    """
    if form == "values":
        return np.asarray(image).astype(np.int64)
    lower: Any = 255
    if form == "bytes":
        other: Any = Image.open(BytesIO(content), formats=("PNG",))
        (*where, raw), *_ = other.tile
        other.tile = [(*where, raw[:-1] + "L")]
        lower = np.asarray(other)[..., :3]
    values: npt.NDArray[np.int64] = np.asarray(image)[..., :3].astype(np.int64) << 8
    values |= lower
    return values


def eight_bit(
    values: npt.NDArray[np.int64], depth: int | None, form: Form, place: str
) -> npt.NDArray[np.uint8]:
    """Return the upper 8 of `depth` bits of values.

    Without a depth all bits of a full range count. Raises `DdkitError` for values that the depth
    does not hold, or that may be of a smaller one.
    """
    least, largest = int(values.min()), int(values.max())
    if depth is None:
        depth = bits(largest)
        if depth < 16 and largest:
            raise DdkitError(
                f"{place} has more than 8 bits per channel, unlike others, and uses "
                f"{depth}: give --bit-depth {depth} or 16"
            )
    if least < 0:
        raise DdkitError(f"{place} has values below 0 ({least}): write them as 0 to 65535")
    if largest >> depth:
        raise DdkitError(
            f"{place} holds the value {largest}, beyond the bit depth {depth}: give "
            f"--bit-depth {bits(largest)}"
        )
    if form == "upper" and depth < 16:
        raise DdkitError(
            f"{place} has {depth} bits per colour, of which pillow reads {max(0, depth - 8)} in "
            "this format: save it as PNG"
        )
    return (values >> depth - 8).astype(np.uint8)


def from_floats(values: npt.NDArray[np.float32], place: str) -> npt.NDArray[np.uint8]:
    """Return values of 0 to 1 as 0 … 255. Raises `DdkitError` for others, which have no range."""
    if not (values.min() >= 0 and values.max() <= 1):  # nor where one is no number
        raise DdkitError(
            f"{place} has floating-point pixels beyond 0 to 1, which have no 8-bit range: scale "
            "them, or write 8 or 16 bits"
        )
    return (values * 255).round().astype(np.uint8)


def bits(largest: int) -> int:
    """Return the least usual depth that holds a value."""
    return next(depth for depth in DEPTHS if largest >> depth == 0)


def _tile(image: Image.Image) -> str:
    """Return the layout of the first bytes that pillow will decode, as it calls it."""
    tiles: Any = getattr(image, "tile", None)
    return str(tiles[0][3]) if tiles else ""

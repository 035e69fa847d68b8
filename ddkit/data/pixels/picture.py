"""One encoded picture to 8-bit pixels: its first frame, upright, on a background if see-through."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile

from ddkit.data.pixels import deep
from ddkit.runtime.errors import DdkitError, cause

VERSION = 2  # of the pixels that a file gives; what is kept of other versions is made anew
WHITE = (255, 255, 255)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A large picture is no attack where it is the user's own; beyond twice the limit it is named.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Reading:
    """How pictures become pixels.

    Attributes:
        side: what every image is scaled and cropped to; None where all have one size.
        background: (red, green, blue), what see-through pixels show.
        depth: how many bits count of pixels that have more than 8; None: all, of a picture that
            fills them.
    """

    side: int | None = None
    background: tuple[int, int, int] = WHITE
    depth: int | None = 16

    @property
    def unusual(self) -> list[Any]:
        """A JSON value: what of it, but for the side, is not as by default."""
        usual = self.background == WHITE and self.depth in (None, 16)
        return [] if usual else [self.background, self.depth]


class Picture:
    """A picture that is opened and not decoded yet.

    Attributes:
        image: as pillow opened it.
        place: how an error message calls it.
        form: how it holds its values.
        orientation: 1 … 8, as EXIF counts; 1 is upright.
    """

    def __init__(self, content: bytes, place: str, formats: tuple[str, ...] | None = None) -> None:
        """Open a picture, trying `formats` first. Raises `DdkitError` where it can't be read."""
        self.content, self.place = content, place
        with self._named():
            self.image = self._opened(formats)
            self.form = deep.form_of(self.image)
            self.orientation = orientation_of(self.image, content)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), upright."""
        width, height = self.image.size
        return (width, height) if self.orientation > 4 else (height, width)

    @property
    def is_huge(self) -> bool:
        """Whether it has more pixels than are decoded."""
        limit = Image.MAX_IMAGE_PIXELS
        return limit is not None and self.image.width * self.image.height > 2 * limit

    @property
    def is_deep(self) -> bool:
        """Whether it has integers of more than 8 bits."""
        return self.form not in ("", "floats")

    def draft(self, height: int, width: int) -> None:
        """Have a JPEG file decoded at a half, a quarter or an eighth, but no smaller than this."""
        self.image.draft(None, (height, width) if self.orientation > 4 else (width, height))

    def largest(self) -> int:
        """Return the largest value of a picture that is deep."""
        with self._named():
            return int(deep.values_of(self.image, self.form, self.content).max())

    def plain(self, reading: Reading) -> Image.Image:
        """Return it upright, in mode L where it is grey, else RGB; not scaled.

        Raises `DdkitError` for a damaged picture, one of too many pixels, and values that have no
        8-bit range.
        """
        if self.is_huge:
            raise DdkitError(
                f"{self.place} has {self.image.width}x{self.image.height} pixels, too many to "
                "decode: scale it down, or use a small --resize"
            )
        with self._named():
            image = self._composed(reading)
            turn = TURNS.get(self.orientation)
            return image if turn is None else image.transpose(turn)

    def follows_from(self, reading: Reading) -> str:
        """Return what its pixels follow from beside its bytes; "" for most pictures."""
        with self._named():
            depth = reading.depth if self.is_deep and reading.depth != 16 else None
            background = None if self._alpha() is None else reading.background
        found = (self.orientation, depth, background)
        return "" if found == (1, None, None) else repr(found)

    def _opened(self, formats: tuple[str, ...] | None) -> Image.Image:
        try:
            image = Image.open(BytesIO(self.content), formats=formats)
        except Image.DecompressionBombError as error:
            if self.content.startswith(b"\xff\xd8"):  # can be decoded at an eighth
                return JpegImageFile(BytesIO(self.content))
            raise DdkitError(
                f"{self.place} has too many pixels to decode ({cause(error)}): scale it down"
            ) from error
        except UnidentifiedImageError as error:
            if formats is not None:
                return self._opened(None)
            raise DdkitError(f"{self.place} is not a readable image ({self._kind()})") from error
        if image.format == "EPS":
            raise DdkitError(f"{self.place} is a program (EPS), which is not run: save it as PNG")
        return image

    def _kind(self) -> str:
        if not self.content:
            return "the file is empty"
        if re.match(rb"....ftyp(he|mif1|msf1)", self.content, re.DOTALL):
            return "HEIC, which pillow does not read: save it as JPEG"
        return "not in a format that pillow knows"

    def _composed(self, reading: Reading) -> Image.Image:
        alpha, image = self._alpha(), self._colours(reading)
        if alpha is None:
            return image
        composed = Image.new("RGB", image.size, reading.background)
        composed.paste(image.convert("RGB"), mask=alpha)
        grey = image.mode == "L" and len(set(reading.background)) == 1
        return composed.convert("L") if grey else composed

    def _alpha(self) -> Image.Image | None:
        """Return how opaque its pixels are, in mode L; None where all are."""
        image = self.image
        image.load()
        if not image.has_transparency_data:
            return None
        if self.is_deep and "transparency" in image.info:  # a value that is nowhere opaque
            values = deep.values_of(image, self.form, self.content)
            clear = values == image.info["transparency"]
            clear = clear.all(2) if clear.ndim == 3 else clear
            alpha = Image.fromarray(np.where(clear, np.uint8(0), np.uint8(255)))
        else:
            alpha = image.convert("RGBA").getchannel("A")
        return None if alpha.getextrema()[0] == 255 else alpha

    def _colours(self, reading: Reading) -> Image.Image:
        """Return it in mode L or RGB, as if all were opaque."""
        image = self.image
        if self.form == "floats":
            return Image.fromarray(deep.from_floats(np.asarray(image), self.place))
        if self.is_deep:
            values = deep.values_of(image, self.form, self.content)
            return Image.fromarray(deep.eight_bit(values, reading.depth, self.form, self.place))
        if image.mode in ("1", "L"):
            return image.convert("L")
        if image.has_transparency_data and image.mode != "RGB":
            image = image.convert("RGBA")  # else pillow warns of palettes, and knows no RGBa
        return image if image.mode == "RGB" else image.convert("RGB")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except DdkitError:
            raise
        except Exception as error:  # damaged bytes raise whatever the format's reader stumbles on
            raise DdkitError(f"{self.place} is not a readable image ({cause(error)})") from error


def orientation_of(image: Image.Image, content: bytes) -> int:
    """Return the EXIF orientation that pillow does not see to, of an opened picture and its file.

    1 where there is none.
    """
    if image.format == "TIFF":  # is turned as it is decoded
        return 1
    if image.format == "PNG" and not re.search(rb"eXIf|exif|Orientation", content):
        return 1  # pillow would decode all to find one behind the pixels
    try:
        found = image.getexif().get(Base.Orientation, 1)
    except Exception:  # a damaged block beside pixels that are whole
        return 1
    return found if found in TURNS else 1

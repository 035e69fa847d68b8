"""The image files of a split before they are decoded, wherever they lie."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from ddkit.data.pixels.decoding import Decoder, ImageFile, decode
from ddkit.runtime.progress import Progress

Reader = Callable[[int], ImageFile]
"""From an image's number to its file."""


class Originals(ABC):
    """The image files of a split, in its order.

    Attributes:
        title: how a line of progress calls them.
    """

    title: str

    @property
    @abstractmethod
    def place(self) -> Any:
        """A JSON value: where they are and which of them are chosen."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def files(self, first: int = 0) -> Iterator[ImageFile]:
        """Yield the image files in order, from number `first` on."""

    @property
    @abstractmethod
    def stamp(self) -> str:
        """A hash that changes whenever a file does: of names, sizes and times."""

    @abstractmethod
    def reader(self, progress: Progress) -> Reader:
        """Return access to single files, in any order and from several threads."""

    def shape(self, side: int | None) -> tuple[int, int, int]:
        """Return (channels, height, width) of the first image, at the size `side`."""
        pixels, _ = Decoder(side).one(next(self.files()))
        channels, height, width = pixels.shape
        return channels, height, width

    def sampled_shape(self, side: int | None, most: int = 16) -> tuple[int, int, int]:
        """Return (channels, height, width) of `most` images spread over the split, at most.

        Raises `DdkitError` where one of them can't be read, or they differ in size.
        """
        count = min(most, len(self))
        spread = (next(self.files(number * len(self) // count)) for number in range(count))
        channels, height, width = decode(spread, count, side).shape[1:]
        return channels, height, width

    def decoded(
        self, first: int, rows: int, side: int | None, size: tuple[int, int]
    ) -> Iterator[Tensor]:
        """Yield the images from number `first` on as uint8 (B, channels, H, W), `rows` at once.

        Raises `DdkitError` as `decode` does.
        """
        files = self.files(first)
        for start in range(first, len(self), rows):
            count = min(rows, len(self) - start)
            yield decode(islice(files, count), count, side, size)


@dataclass(frozen=True)
class Listing:
    """A split whose images are not decoded yet.

    Attributes:
        images: their files.
        labels: int64 (N,).
        classes: the names of the classes, in label order.
        notes: what a user should hear of them, a line each.
    """

    images: Originals
    labels: Tensor
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

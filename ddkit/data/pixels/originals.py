"""The image files of a split before they are decoded, wherever they lie."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from ddkit.data.pixels import deep
from ddkit.data.pixels.cache import Cache
from ddkit.data.pixels.decoding import CHUNK, Decoder, ImageFile, content_of, decode, workers
from ddkit.data.pixels.picture import VERSION, Picture, Reading
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

    def shape(self, reading: Reading) -> tuple[int, int, int]:
        """Return (channels, height, width) of the first image as it is read."""
        pixels, _ = Decoder(reading).one(next(self.files()))
        channels, height, width = pixels.shape
        return channels, height, width

    def some(self, most: int) -> Iterator[ImageFile]:
        """Yield `most` files, at most, for a look at what there is: the first ones."""
        return islice(self.files(), most)

    def sampled_shape(self, reading: Reading, most: int = 16) -> tuple[int, int, int]:
        """Return (channels, height, width) of `most` images, at most.

        Raises `DdkitError` where one of them can't be read, or they differ in size.
        """
        files = list(self.some(most))
        channels, height, width = decode(files, len(files), reading).shape[1:]
        return channels, height, width

    def sizes(self, most: int = 64) -> list[tuple[int, int]]:
        """Return (height, width), upright, of `most` images, at most."""
        return [_picture(file).size for file in self.some(most)]

    def is_deep(self) -> bool:
        """Whether one of some images has more than 8 bits a channel."""
        return any(_picture(file).is_deep for file in self.some(64))

    def depth(self, progress: Progress) -> int | None:
        """Return how many bits hold all values of images of more than 8 a channel.

        None where those looked at have no more. All are decoded once, and the answer is kept.
        """
        if not self.is_deep():
            return None

        def largest(file: ImageFile) -> int:
            picture = _picture(file)
            return picture.largest() if picture.is_deep else 0

        def compute() -> int:
            found, files = 0, self.files()
            with progress.task(f"{self.title}: their depth", len(self)) as bar:
                while chunk := list(islice(files, CHUNK)):
                    found = max(found, *workers().map(largest, chunk))
                    bar.advance(len(chunk))
            return deep.bits(found)

        known = Cache.at(["files of", self.place], f"{self.stamp}-{VERSION}")
        return int(known.remember("depth", compute))

    def decoded(
        self, first: int, rows: int, reading: Reading, size: tuple[int, int]
    ) -> Iterator[Tensor]:
        """Yield the images from number `first` on as uint8 (B, channels, H, W), `rows` at once.

        Raises `DdkitError` as `decode` does.
        """
        files = self.files(first)
        for start in range(first, len(self), rows):
            count = min(rows, len(self) - start)
            yield decode(islice(files, count), count, reading, size)


def _picture(file: ImageFile) -> Picture:
    return Picture(content_of(file), file[1])


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

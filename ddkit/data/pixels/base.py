"""Where the pixels of a split are: in memory, in a mapped file, or still in image files."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ddkit.data.pixels.cache import Cache, Chunk
from ddkit.runtime.errors import Unwritable
from ddkit.runtime.moving import sent
from ddkit.runtime.progress import Progress

CHUNK = 4096  # images per step of a pass over all


@dataclass(frozen=True)
class CropShape:
    """What the boxes of random resized crops are like.

    Attributes:
        scale: lowest and highest share of the image that a box covers.
        ratio: lowest and highest aspect ratio of a box, width by height.
        size: (height, width) to which a box is scaled; None: that of the images.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    size: tuple[int, int] | None = None


USUAL = CropShape()


class Digest(Protocol):
    """What `hashlib` returns."""

    def update(self, data: Any, /) -> None: ...


class Pixels(ABC):
    """The images of a split, in its order, all of one size.

    Attributes:
        shape: (N, channels, height, width).
        in_files: whether images are decoded each time that they are taken.
    """

    shape: tuple[int, int, int, int]
    in_files = False

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """The bytes of all images as uint8, wherever they are."""
        return prod(self.shape)

    @abstractmethod
    def take(self, indices: Tensor) -> Tensor:
        """Return the images at `indices` (int64) as a new tensor, uint8 (B, channels, H, W)."""

    @abstractmethod
    def subset(self, indices: Tensor) -> "Pixels":
        """Return the images at `indices` (int64), in that order."""

    @abstractmethod
    def feed(self, digest: Digest) -> None:
        """Feed what tells these images from others to a digest, in their order."""

    def chunks(self, size: int = CHUNK) -> Iterator[Tensor]:
        """Yield all images in order, at most `size` at once."""
        for indices in torch.split(torch.arange(len(self)), size):
            yield self.take(indices)

    def hashes(self, progress: Progress, files: bool = False) -> Tensor:
        """Return a hash of each image's pixels, int64 (N,): equal images, equal hash.

        Where images are `in_files`, with `files` of each file instead.
        """
        return torch.cat([*self.hashed(0, files)])

    def hashed(self, first: int, files: bool) -> Iterator[Tensor]:
        """Yield the hashes from image `first` on, many at once."""
        for indices in torch.arange(first, len(self)).split(CHUNK):
            images = self.take(indices).flatten(1).contiguous().numpy()
            yield torch.tensor([short_hash(image.data) for image in images])

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what `compute` (→ a JSON value) makes of these images, now or in an earlier run.

        For passes over all images; where these lie in memory, nothing is written down.
        """
        return compute()


class Croppable(Pixels):
    """Pixels that cut random boxes out of larger images than `take` returns.

    Such crops show more detail than boxes of what was scaled down before.
    """

    @abstractmethod
    def crops(
        self,
        indices: Tensor,
        tries: Tensor,
        flips: Tensor,
        device: torch.device | str = "cpu",
        shape: CropShape = USUAL,
    ) -> Tensor:
        """Return a random box of each image, scaled, antialiased.

        Args:
            indices: int64 (B,).
            tries: float64 (4, B, TRIES), which the boxes follow from (see `draw_tries`).
            flips: bool (B,), which images are mirrored; their boxes count from the right.
            device: where the crops will be used; they may be made there.
            shape: of the boxes, and the size (H, W) to which they are scaled.

        Returns:
            uint8 (B, channels, H, W), on the device or on the CPU.
        """


class InMemory(Pixels):
    """A tensor, on any device; `images` may be floating point as well."""

    def __init__(self, images: Tensor) -> None:
        count, channels, height, width = images.shape
        self.images, self.shape = images, (count, channels, height, width)

    def take(self, indices: Tensor) -> Tensor:
        # index_select copies an image with one memcpy: 15 times faster than images[indices].
        return self.images.index_select(0, sent(indices, self.images.device))

    def subset(self, indices: Tensor) -> "InMemory":
        return InMemory(self.images[indices])

    def chunks(self, size: int = CHUNK) -> Iterator[Tensor]:
        yield from torch.split(self.images, size)

    def feed(self, digest: Digest) -> None:
        digest.update(self.images.contiguous().numpy().data)


class Cached(Pixels):
    """Images of which a subset is a list of row numbers, beside a folder of what is known of them.

    Attributes:
        rows: int64 (N,), where in the whole set each image is.
    """

    def __init__(self, cache: Cache, rows: Tensor, shape: tuple[int, int, int]) -> None:
        self.cache, self.rows, self.shape = cache, rows, (len(rows), *shape)

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        return self.cache.remember(self._named(name), compute)

    def hashes(self, progress: Progress, files: bool = False) -> Tensor:
        beside = self._named("hashes-of-files" if files else "hashes")
        cache = Cache(self.cache.folder / beside, self.cache.stamp)

        def chunks(first: int, about: dict[str, Any]) -> Iterator[Chunk]:
            for part in self.hashed(first, files):
                yield len(part), {"hashes.bin": part.numpy().data}

        try:
            cache.ready(len(self), {}, chunks, progress, "data: comparing images")
            return cache.map("hashes.bin", np.int64)
        except Unwritable:
            return super().hashes(progress, files)

    def _named(self, name: str) -> str:
        """Return a name of what is known of these rows."""
        digest = hashlib.blake2b(repr(self.shape).encode(), digest_size=8)
        digest.update(self.rows.numpy().data)
        return f"{name}-{digest.hexdigest()}"


class Kept(Cached, InMemory):
    """Decoded images of the cache in memory: their file's own pages, until they are written to.

    A part of them is a copy, as of any tensor; what is known of it is found again by its rows.
    """

    def __init__(self, cache: Cache, images: Tensor, rows: Tensor | None = None) -> None:
        count, *shape = images.shape
        channels, height, width = shape
        rows = torch.arange(count) if rows is None else rows
        super().__init__(cache, rows, (channels, height, width))
        self.images = images

    def subset(self, indices: Tensor) -> "Kept":
        return Kept(self.cache, self.take(indices), self.rows[indices])


class Mapped(Cached):
    """A memory-mapped file of the cache: pages come and go, and no process has a copy of its own.

    Pixels, and so fingerprints, are those that the same images have in memory.
    """

    def __init__(self, cache: Cache, images: Tensor, rows: Tensor | None = None) -> None:
        count, channels, height, width = images.shape
        rows = torch.arange(count) if rows is None else rows
        super().__init__(cache, rows, (channels, height, width))
        self.images = images

    def take(self, indices: Tensor) -> Tensor:
        return self.images.index_select(0, self.rows[indices.cpu()])

    def subset(self, indices: Tensor) -> "Mapped":
        return Mapped(self.cache, self.images, self.rows[indices])

    def feed(self, digest: Digest) -> None:
        for chunk in self.chunks():
            digest.update(chunk.numpy().data)


def short_hash(content: Any) -> int:
    """Return a hash of some bytes that fits an int64."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def pixels_of(images: Tensor | Pixels) -> Pixels:
    """Return `images` as pixels, wherever they are."""
    return InMemory(images) if isinstance(images, Tensor) else images

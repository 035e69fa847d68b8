"""Images that stay in their files: decoded when they are taken, by a thread per core."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from ddkit.data.pixels.base import (
    CHUNK,
    USUAL,
    Cached,
    Croppable,
    CropShape,
    Digest,
    short_hash,
)
from ddkit.data.pixels.cache import Cache
from ddkit.data.pixels.crops import crops_of, in_threads
from ddkit.data.pixels.decoding import Decoder, check_size, content_of, workers
from ddkit.data.pixels.originals import Reader
from ddkit.data.pixels.picture import Picture, Reading

PASS = 256  # images at once in a pass over all: decoded, they take room


@dataclass(frozen=True)
class Store:
    """The image files of a whole set.

    Attributes:
        cache: what is known of them.
        read: access to single files.
        count: how many there are.
        reading: how they become pixels.
        size: (height, width) of every image as it is taken.
    """

    cache: Cache
    read: Reader
    count: int
    reading: Reading
    size: tuple[int, int]

    def content(self) -> str:
        """Return a hash of all files, which reads them all once and never again."""
        return str(self.cache.remember("content", self._hashed))

    def _hashed(self) -> str:
        digest = blake2b(digest_size=16)
        for number in range(self.count):
            file = self.read(number)
            content = content_of(file)
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
            digest.update(Picture(content, file[1]).follows_from(self.reading).encode())
        return digest.hexdigest()


class Encoded(Cached, Croppable):
    """Full-size images, decoded when they are taken; three channels, whatever the files have.

    `take` gives the pixels that the same images have in memory; `crops` cuts boxes out of the full
    size.
    """

    in_files = True

    def __init__(self, store: Store, rows: Tensor | None = None) -> None:
        rows = torch.arange(store.count) if rows is None else rows
        super().__init__(store.cache, rows, (3, *store.size))
        self.store = store

    def take(self, indices: Tensor) -> Tensor:
        files = map(self.store.read, self.rows[indices.cpu()].tolist())
        images = torch.empty(len(indices), 3, *self.store.size, dtype=torch.uint8)
        decoded = workers().map(Decoder(self.store.reading).one, files)
        for image, (pixels, place) in zip(images, decoded, strict=True):
            check_size(pixels, self.store.size, place)
            image.copy_(torch.from_numpy(pixels))  # which repeats grey
        return images

    def crops(
        self,
        indices: Tensor,
        tries: Tensor,
        flips: Tensor,
        device: torch.device | str = "cpu",
        shape: CropShape = USUAL,
    ) -> Tensor:
        """Return crops (see `Croppable`): of JPEG files on the device, of others by threads."""
        rows, tries, flips = self.rows[indices.cpu()], tries.cpu(), flips.cpu()
        size, reading = shape.size or self.store.size, self.store.reading
        if torch.device(device).type != "cpu":
            from ddkit.data.pixels.nvjpeg import crops_on  # torchvision takes a second to import

            files = [self.store.read(row) for row in rows.tolist()]
            crops = crops_on(torch.device(device), files, size, tries, flips, shape)
            if crops is not None:
                return crops

        def crop(part: slice) -> Tensor:
            files = [self.store.read(row) for row in rows[part].tolist()]
            return crops_of(files, size, tries[:, part], flips[part], reading, shape)

        return in_threads(crop, len(rows))

    def hashed(self, first: int, files: bool) -> Iterator[Tensor]:
        def one(row: int) -> int:
            return short_hash(content_of(self.store.read(row)))

        if not files:
            yield from super().hashed(first, files)
            return
        for rows in self.rows[first:].split(CHUNK):
            yield torch.tensor([*workers().map(one, rows.tolist())])

    def subset(self, indices: Tensor) -> "Encoded":
        return Encoded(self.store, self.rows[indices])

    def chunks(self, size: int = PASS) -> Iterator[Tensor]:
        return super().chunks(min(size, PASS))

    def feed(self, digest: Digest) -> None:
        digest.update(self.store.content().encode())
        digest.update(self.rows.numpy().data)

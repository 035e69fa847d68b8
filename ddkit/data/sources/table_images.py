"""Images in a column of a table, such as a parquet file's."""

from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddkit.data.pixels.cache import CHUNK_BYTES, Cache, Chunk
from ddkit.data.pixels.decoding import ImageFile, content_of
from ddkit.data.pixels.originals import Originals, Reader
from ddkit.data.pixels.picture import Reading
from ddkit.data.sources.array_cells import picture, pictures
from ddkit.data.sources.columns import is_array, is_list
from ddkit.data.sources.parquet import Rows, cells, chosen
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress


class TableImages(Originals):
    """The cells of a column at `wanted` rows (int64, rising)."""

    def __init__(self, rows: Rows, column: str, wanted: Tensor, name: str) -> None:
        self.rows, self.column, self.wanted, self.name = rows, column, wanted, name
        self.title = f"data: images of {name}"

    def __len__(self) -> int:
        return len(self.wanted)

    def files(self, first: int = 0) -> Iterator[ImageFile]:
        for row, cell in cells(self.rows, self.column, self.wanted[first:]):
            yield content(cell, row, self.name), f"row {row} of {self.name}"

    @cached_property
    def place(self) -> Any:
        rows = blake2b(self.wanted.numpy().data, digest_size=8).hexdigest()
        return ["table", list(self.rows.identity()), self.column, rows]

    @cached_property
    def stamp(self) -> str:
        return stable_hash(self.rows.identity())

    def reader(self, progress: Progress) -> Reader:
        """Return access to a copy in the cache: cells of a compressed table can't be reached."""
        cache = Cache.at(self.place, self.stamp)
        cache.ready(len(self), {}, self._chunks, progress, self.title)
        images, ends = cache.map("images.bin", np.uint8), cache.map("sizes.bin", np.int64).cumsum(0)

        def read(number: int) -> ImageFile:
            start = int(ends[number - 1]) if number else 0
            place = f"row {int(self.wanted[number])} of {self.name}"
            return images[start : int(ends[number])].numpy().tobytes(), place

        return read

    def decoded(
        self, first: int, rows: int, reading: Reading, size: tuple[int, int]
    ) -> Iterator[Tensor]:
        """Yield the images as any others, but arrays of the right size without a detour."""
        parts: list[Tensor] = []
        held = 0
        if is_array(self.rows.schema.field(self.column).type):
            for array in chosen(self.rows, self.column, self.wanted[first:]):
                found = pictures(array)
                if found is None or found.shape[2:] != size:
                    break  # what is wrong, or to be scaled, is seen to image by image
                parts.append(torch.tensor(found))  # a copy: these may be pages of the file
                held += len(found)
                if held >= rows:
                    yield _joined(parts)
                    first, parts, held = first + held, [], 0
        yield from [_joined(parts)] if parts else []
        yield from super().decoded(first + held, rows, reading, size)

    def _chunks(self, first: int, about: dict[str, Any]) -> Iterator[Chunk]:
        """Yield the encoded images, and their sizes in bytes as int64."""
        images: list[bytes] = []
        size = 0
        for file in self.files(first):
            images.append(content_of(file))
            size += len(images[-1])
            if size >= CHUNK_BYTES:
                yield _chunk(images)
                images, size = [], 0
        if images:
            yield _chunk(images)


def _chunk(images: list[bytes]) -> Chunk:
    sizes = torch.tensor([len(image) for image in images])
    return len(images), {"images.bin": b"".join(images), "sizes.bin": sizes.numpy().data}


def _joined(parts: list[Tensor]) -> Tensor:
    channels = max(part.shape[1] for part in parts)  # coloured where any is
    return torch.cat([part.expand(-1, channels, -1, -1) for part in parts])


def content(cell: Any, row: int, place: str) -> bytes | Path:
    """Return the content of an image cell, or the path of the file that holds it.

    The pixels of an array become a file of the plainest format, PGM or PPM. Raises `DdkitError`
    where there is no image.
    """
    value = picture(cell, f"row {row} of {place}") if is_list(cell.type) else cell.as_py()
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and value.get("bytes") is not None:
        return bytes(value["bytes"])
    if isinstance(value, dict) and value.get("path"):
        return Path(value["path"])
    raise DdkitError(f"row {row} of {place} holds no image")

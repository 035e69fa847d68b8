"""Image files in a column of a table, such as a parquet file's."""

from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddkit.data.pixels.cache import CHUNK_BYTES, Cache, Chunk
from ddkit.data.pixels.decoding import ImageFile
from ddkit.data.pixels.originals import Originals, Reader
from ddkit.data.sources.parquet import Rows, cells
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
            yield content(cell.as_py(), row, self.name), f"row {row} of {self.name}"

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

    def _chunks(self, first: int, about: dict[str, Any]) -> Iterator[Chunk]:
        """Yield the encoded images, and their sizes in bytes as int64."""
        images: list[bytes] = []
        size = 0
        for source, _ in self.files(first):
            images.append(source if isinstance(source, bytes) else source.read_bytes())
            size += len(images[-1])
            if size >= CHUNK_BYTES:
                yield _chunk(images)
                images, size = [], 0
        if images:
            yield _chunk(images)


def _chunk(images: list[bytes]) -> Chunk:
    sizes = torch.tensor([len(image) for image in images])
    return len(images), {"images.bin": b"".join(images), "sizes.bin": sizes.numpy().data}


def content(value: Any, row: int, place: str) -> bytes | Path:
    """Return the content of an image cell, or the path of the file that holds it."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and value.get("bytes") is not None:
        return bytes(value["bytes"])
    if isinstance(value, dict) and value.get("path"):
        return Path(value["path"])
    raise DdkitError(f"row {row} of {place} holds no image")

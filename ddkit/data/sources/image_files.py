"""Image files in the file system, known by names that take little memory."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from ddkit.data.pixels.decoding import ImageFile
from ddkit.data.pixels.originals import Originals, Reader
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class ImageFiles(Originals):
    """The image files of one folder per class, each class in sorted order.

    Names are kept as bytes in one arrow array: 40 MB for ImageNet's, against 500 MB of paths.
    """

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        self.root, self.title = root, f"data: images of {root}"
        self.classes = list(classes)
        found = [names(root, folder) for folder in classes]
        self.counts = [len(each) for each in found]
        self.names = pa.chunked_array([pa.array(each, pa.binary()) for each in found])
        self.names = self.names.combine_chunks()

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def place(self) -> Any:
        return ["files", str(self.root.resolve()), self.classes]

    def file(self, number: int) -> ImageFile:
        """Return one file."""
        path = self.root / os.fsdecode(self.names[number].as_py())
        return path, str(path)

    def files(self, first: int = 0) -> Iterator[ImageFile]:
        return map(self.file, range(first, len(self)))

    def reader(self, progress: Progress) -> Reader:
        return self.file

    @cached_property
    def stamp(self) -> str:
        digest = blake2b(digest_size=8)
        root = os.fsencode(self.root)
        for name in self.names:
            found = os.stat(os.path.join(root, name.as_py()))  # noqa: PTH116, PTH118 - a million
            digest.update(b"%s\0%d %d\0" % (name.as_py(), found.st_size, found.st_mtime_ns))
        return digest.hexdigest()


def names(root: Path, folder: str) -> list[bytes]:
    """Return the image files under `root`/`folder`, relative to `root`, as paths are sorted.

    Those in folders within it belong to it. Raises `DdkitError` where there are none.
    """
    found = [
        os.path.relpath(os.path.join(parent, name), root)  # noqa: PTH118 - a million
        for parent, _, files in os.walk(root / folder)
        for name in files
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    ]
    if not found:
        raise DdkitError(f"the class folder {root / folder} holds no images")
    found.sort(key=lambda name: name.split(os.sep))  # noqa: PTH206 - a million
    return [os.fsencode(name) for name in found]

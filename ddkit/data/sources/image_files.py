"""Image files in the file system, known by names that take little memory."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from ddkit.data.pixels.decoding import ImageFile
from ddkit.data.pixels.originals import Originals, Reader
from ddkit.runtime.errors import DdkitError, cause
from ddkit.runtime.progress import Progress

SUFFIXES = {
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf"),
    *(".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif"),
    *(".tiff", ".webp"),
}
LITTER = {"desktop.ini", "thumbs.db"}  # what systems leave in folders; so are hidden files


class ImageFiles(Originals):
    """Image files below a folder, in an order that is given.

    Names are kept as bytes in one arrow array: 40 MB for ImageNet's, against 500 MB of paths.
    """

    def __init__(self, root: Path, names: Sequence[Sequence[bytes]], place: Any) -> None:
        """Take the files' `names` relative to `root`, in parts; `place` says which are chosen."""
        self.root, self.title = root, f"data: images of {root}"
        self.names = pa.chunked_array([pa.array(part, pa.binary()) for part in names], pa.binary())
        self.names = self.names.combine_chunks()
        self._place = place

    def __len__(self) -> int:
        return len(self.names)

    @property
    def place(self) -> Any:
        return self._place

    def file(self, number: int) -> ImageFile:
        """Return one file."""
        path = self.root / os.fsdecode(self.names[number].as_py())
        return path, str(path)

    def files(self, first: int = 0) -> Iterator[ImageFile]:
        return map(self.file, range(first, len(self)))

    def some(self, most: int) -> Iterator[ImageFile]:
        """Yield files that are spread over all."""
        count = min(most, len(self))
        return (self.file(number * len(self) // count) for number in range(count))

    def reader(self, progress: Progress) -> Reader:
        return self.file

    @cached_property
    def stamp(self) -> str:
        digest = blake2b(digest_size=8)
        root = os.fsencode(self.root)
        for name in self.names:
            path = os.path.join(root, name.as_py())  # noqa: PTH118 - a million
            try:
                found = os.stat(path)  # noqa: PTH116
            except OSError as error:  # a link to nothing
                raise DdkitError(f"{os.fsdecode(path)} can't be read ({cause(error)})") from error
            digest.update(b"%s\0%d %d\0" % (name.as_py(), found.st_size, found.st_mtime_ns))
        return digest.hexdigest()


@dataclass(frozen=True)
class Found:
    """What lies below a folder.

    Attributes:
        images: their names relative to a root, as paths are sorted.
        left_out: how many other files there are, by their endings.
    """

    images: list[bytes]
    left_out: Counter[str]


def files_below(root: Path, folder: str = "", *, deep: bool = True) -> Found:
    """Return the files of `root`/`folder`, those in folders within it too where `deep`.

    Hidden files, and what systems leave behind, are no files to speak of.
    """
    images, left_out = [], Counter[str]()
    for parent, _, files in os.walk(root / folder):
        for name in files:
            if name.startswith(".") or name.lower() in LITTER:
                continue
            ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a million
            if ending in SUFFIXES:
                images.append(os.path.relpath(os.path.join(parent, name), root))  # noqa: PTH118
            else:
                left_out[ending or "without an ending"] += 1
        if not deep:
            break
    images.sort(key=lambda name: name.split(os.sep))  # noqa: PTH206 - a million
    return Found([os.fsencode(name) for name in images], left_out)


def told(left_out: Counter[str], root: Path) -> tuple[str, ...]:
    """Return the line that says how many files are no images that can be read; () for none."""
    if not left_out:
        return ()
    count = left_out.total()
    some = "1 file was" if count == 1 else f"{count:,} files were"
    return (f"{root}: {some} left out: {by_ending(left_out)}",)


def by_ending(left_out: Counter[str]) -> str:
    """Return "12 .txt, 1 .mp4", the most frequent first."""
    ordered = sorted(left_out.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count:,} {ending}" for ending, count in ordered)

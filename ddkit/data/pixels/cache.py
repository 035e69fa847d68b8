"""What is made once of a data source, in files that grow chunk by chunk and are then mapped."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ddkit.runtime.cache import cache_folder, stable_hash
from ddkit.runtime.errors import DdkitError, Unwritable
from ddkit.runtime.files import locked, read_json, unwritable, write_json
from ddkit.runtime.interrupt import check_stop
from ddkit.runtime.progress import Progress

CHUNK_BYTES = 2**25  # written, and lost where a process is killed, at once
HEADER, PROGRESS = "header.json", "progress.json"

Chunk = tuple[int, Mapping[str, Any]]
"""How many rows it holds; and the bytes that are appended to each file, by the file's name."""

Chunks = Callable[[int, dict[str, Any]], Iterator[Chunk]]
"""From the first row that is missing, and what is known about all rows, to the missing chunks."""


class StartOver(Exception):  # noqa: N818 - it is no error: the first rows could not tell
    """Raised by `Chunks` where something else holds `about` all rows than was thought."""

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__(about)
        self.about = about


@dataclass(frozen=True)
class Cache:
    """A folder for one data source. Whatever was made of other content is made again.

    Attributes:
        folder: where its files lie.
        stamp: changes whenever the source does.
    """

    folder: Path
    stamp: str

    @classmethod
    def at(cls, place: Any, stamp: str) -> "Cache":
        """Return the cache of the source that `place` (a JSON value) names."""
        return cls(cache_folder("data") / stable_hash(place), stamp)

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what `compute` (→ a JSON value) returned when it was asked first.

        Where that cannot be written it is asked again each time.
        """
        stored = self._read(f"{name}.json")
        if stored is None:
            stored = {"stamp": self.stamp, "value": compute()}
            with suppress(Unwritable):
                write_json(self.folder / f"{name}.json", stored)
        return stored["value"]

    def ready(
        self, count: int, about: dict[str, Any], chunks: Chunks, progress: Progress, title: str
    ) -> dict[str, Any]:
        """Fill the files with `count` rows, or what is missing of them; return what is about all.

        One process does so while others wait. A killed one loses a chunk: what is on disk is
        appended to, and the files end in the same bytes. Raises `Unwritable` where the disk is
        full, and what `chunks` raises; `Stopped` on request.
        """
        header = self._finished()  # then the folder may be one that only others can write
        if header is None:
            with locked(self.folder, "the data cache", wait=True):
                header = self._finished()  # by whoever was waited for
                if header is None:
                    header = self._filled(count, about, chunks, progress, title)
                    write_json(self.folder / HEADER, header)
                    (self.folder / PROGRESS).unlink(missing_ok=True)
        known: dict[str, Any] = header["about"]
        return known

    def map(self, name: str, dtype: npt.DTypeLike, mode: Literal["r", "c"] = "r") -> Tensor:
        """Return a finished file as a tensor (n,), of which no process has a copy.

        In mode "r" to read from; in mode "c" pages that are written to become this process's own.
        """
        mapped = np.memmap(self.folder / name, dtype, mode=mode)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's, of tensors that are read-only
            return torch.from_numpy(mapped)

    def _filled(
        self, count: int, about: dict[str, Any], chunks: Chunks, progress: Progress, title: str
    ) -> dict[str, Any]:
        state = self._read(PROGRESS) or self._begun(about)
        while state["rows"] < count:
            try:
                with progress.task(title, count, state["rows"]) as bar:
                    for rows, parts in chunks(state["rows"], state["about"]):
                        for name, part in parts.items():
                            done = state["lengths"].get(name, 0)
                            state["lengths"][name] = append(self.folder / name, done, part)
                        state["rows"] += rows
                        write_json(self.folder / PROGRESS, state)
                        bar.advance(rows)
                        check_stop()
                break
            except StartOver as found:
                state = self._begun(found.about)
        if state["rows"] != count:
            raise DdkitError(f"{title}: {state['rows']} of {count} images came; try again")
        return state

    def _begun(self, about: dict[str, Any]) -> dict[str, Any]:
        """Remove the files, which others may still have mapped, and return an empty state."""
        for path in self.folder.iterdir():
            if path.name in (HEADER, PROGRESS) or path.suffix == ".bin":
                path.unlink()
        return {"stamp": self.stamp, "rows": 0, "about": about, "lengths": {}}

    def _finished(self) -> dict[str, Any] | None:
        """Return what is noted of the files where they are whole, else None."""
        header = self._read(HEADER)
        if header is None:
            return None
        files = {self.folder / name: length for name, length in header["lengths"].items()}
        whole = all(path.exists() and path.stat().st_size == n for path, n in files.items())
        return header if whole else None

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return a JSON file of the folder, None where it is missing or of other content."""
        path = self.folder / name
        stored: dict[str, Any] = read_json(path) if path.exists() else {}
        return stored if stored.get("stamp") == self.stamp else None


def append(path: Path, done: int, part: Any) -> int:
    """Write `part` after the first `done` bytes of a file, durably; return its new length.

    Raises `DdkitError` where the disk is full.
    """
    try:
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(done)
            file.truncate()  # the rest was written by a process that was killed
            file.write(part)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise unwritable(path, error) from error

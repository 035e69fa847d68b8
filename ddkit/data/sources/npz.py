"""Arrays in an .npz file, as MedMNIST and Keras' mnist.npz have them, read as tables are."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ddkit.data.options import DataOptions
from ddkit.data.pixels.originals import Listing
from ddkit.data.sources.parquet import Rows, stamps
from ddkit.data.sources.tables import SPLIT_NAMES, SplitName, read_split
from ddkit.runtime.errors import DdkitError, cause

SPLITS = {name for names in SPLIT_NAMES.values() for name in names}
COLUMNS = {
    "image": ("x", "data", "image", "images"),
    "label": ("y", "target", "targets", "label", "labels"),
}
PIECE = 2**22  # bytes that are read at once


def is_npz(name: str) -> bool:
    """Whether a data set's name is that of an .npz file."""
    return name.lower().endswith(".npz")


def read(options: DataOptions, split: SplitName) -> Listing:
    """Return a split of the file `options.name`; nothing in it is executed.

    Raises `DdkitError` for a file that is missing, damaged or of no known layout, and for all that
    `read_split` refuses.
    """
    path = Path(options.name).expanduser()
    if not path.is_file():
        raise DdkitError(f"the data file {path} does not exist, or is a folder")
    return read_split(find_tables(path), options, split, str(path))


def find_tables(path: Path) -> dict[str, Rows]:
    """Return the tables of a file by split name, each with the columns "image" and "label"."""
    found: dict[str, dict[str, zipfile.ZipInfo]] = {}
    with named(path), zipfile.ZipFile(path) as archive:
        members = {i.filename[:-4]: i for i in archive.infolist() if i.filename.endswith(".npy")}
    for name, info in members.items():
        words = name.lower().split("_")
        split = next((word for word in words if word in SPLITS), "train")
        rest = [word for word in words if word != split]
        for column, usual in COLUMNS.items():
            if len(rest) == 1 and rest[0] in usual:
                found.setdefault(split, {})[column] = info
    tables: dict[str, Rows] = {
        split: ArrayRows(path, {name: read_header(path, info) for name, info in columns.items()})
        for split, columns in found.items()
        if "image" in columns
    }
    if not tables:
        raise DdkitError(
            f"{path} holds {', '.join(members) or 'no arrays'}: it should hold train_images, "
            "train_labels, test_images and test_labels, or x_train, y_train, x_test and y_test"
        )
    return tables


@dataclass(frozen=True)
class Member:
    """An array in the file.

    Attributes:
        name: of the array; `info` is where it lies in the file.
        offset: where in the member its values begin.
    """

    path: Path
    name: str
    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape[1:])

    def rows(self, first: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the array from row `first` on, a few rows at once, in the machine's byte order."""
        count = max(1, PIECE // max(1, self.row_bytes))
        with (
            named(self.path, self.name),
            zipfile.ZipFile(self.path) as archive,
            archive.open(self.info) as file,
        ):
            file.seek(self.offset + first * self.row_bytes)
            for start in range(first, self.shape[0], count):
                rows = min(count, self.shape[0] - start)
                content = exactly(file, rows * self.row_bytes)
                part = np.frombuffer(content, self.dtype).reshape(rows, *self.shape[1:])
                yield part.astype(self.dtype.newbyteorder("="), copy=False)


def read_header(path: Path, info: zipfile.ZipInfo) -> Member:
    """Return an array without its values. Raises `DdkitError` for what can't be read in safety."""
    name = info.filename[:-4]
    with named(path, name), zipfile.ZipFile(path) as archive, archive.open(info) as file:
        old = np.lib.format.read_magic(file) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = header(file)
        offset = file.tell()
    problem = None
    if dtype.kind not in "uibfU":
        problem = f"holds values of {dtype}: only numbers and text can be read"
    elif by_columns and len(shape) > 1:
        problem = "is stored column by column: store np.ascontiguousarray of it"
    elif not shape or 0 in shape[1:]:
        problem = f"is of shape {shape}: the first dimension counts images, and none may be 0"
    elif info.file_size != offset + prod(shape) * dtype.itemsize:
        problem = "is damaged: it holds fewer or more values than its shape says"
    if problem:
        raise DdkitError(f"{path}: the array {name} {problem}")
    return Member(path, name, info, shape, dtype, offset)


class ArrayRows:
    """The rows of arrays of one length, as a table."""

    def __init__(self, path: Path, columns: dict[str, Member]) -> None:
        self.path, self.columns = path, columns
        lengths = {member.name: member.shape[0] for member in columns.values()}
        if len(set(lengths.values())) > 1:
            said = " and ".join(f"{count} {name}" for name, count in lengths.items())
            raise DdkitError(f"{path} holds {said}: there should be a label for each image")

    @cached_property
    def schema(self) -> Any:
        fields = []
        for name, member in self.columns.items():
            kind = pa.from_numpy_dtype(member.dtype.newbyteorder("="))
            for length in reversed(member.shape[1:]):
                kind = pa.list_(kind, length)
            fields.append((name, kind))
        return pa.schema(fields)

    def column(self, name: str, first: int = 0) -> Iterator[Any]:
        for part in self.columns[name].rows(first):
            array = pa.array(part.reshape(-1))
            for length in reversed(part.shape[1:]):
                array = pa.FixedSizeListArray.from_arrays(array, length)
            yield array

    def identity(self) -> dict[str, Any]:
        (stamp,) = stamps([self.path]).items()
        return {f"{stamp[0]}: {self.columns['image'].name}": stamp[1]}


def exactly(file: IO[bytes], size: int) -> bytes:
    """Return the next `size` bytes. Raises `EOFError` where there are fewer."""
    content = file.read(size)
    if len(content) != size:
        raise EOFError("it ends early")
    return content


@contextmanager
def named(path: Path, name: str | None = None) -> Iterator[None]:
    """Turn what reading an archive raises into one line that names the file and the array."""
    try:
        yield
    except (
        EOFError,
        NotImplementedError,
        OSError,
        RuntimeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        what = (
            f"{path}: the array {name} is damaged"
            if name
            else f"{path} is not a readable .npz file"
        )
        raise DdkitError(f"{what} ({cause(error)})") from error

"""Tables that are read column by column: parquet files and Hugging Face's arrow files."""

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ddkit.runtime.errors import DdkitError, cause

BATCH = 256  # rows read at once: some 30 MB where images are of ImageNet's size


class Rows(Protocol):
    """A table that is read column by column, a batch of rows at a time."""

    @property
    def schema(self) -> Any:
        """The pyarrow schema; its metadata holds Hugging Face's features, where there are any."""

    def column(self, name: str, first: int = 0) -> Iterator[Any]:
        """Yield the column from row `first` on as consecutive pyarrow arrays."""

    def identity(self) -> dict[str, Any]:
        """Return the files by their paths, each with a JSON value that changes when it does."""


class ParquetRows:
    """The rows of parquet files, one file after the other."""

    def __init__(self, files: list[Path]):
        self.files = files

    @cached_property
    def schema(self) -> Any:
        return self._open(self.files[0]).schema_arrow

    def column(self, name: str, first: int = 0) -> Iterator[Any]:
        for path in self.files:
            file = self._open(path)
            if name not in file.schema_arrow.names:
                raise DdkitError(f"{path} has no column '{name}', unlike {self.files[0].name}")
            if first >= file.metadata.num_rows:
                first -= file.metadata.num_rows
                continue
            try:
                size = batch_rows(file.schema_arrow.field(name).type)
                for batch in file.iter_batches(size, columns=[name]):
                    array = plain(batch.column(0))[first:]
                    first = max(0, first - len(batch))
                    if len(array):
                        yield array
            except (pa.ArrowException, OSError) as error:
                raise DdkitError(f"{path} is damaged ({cause(error)})") from error

    def identity(self) -> dict[str, Any]:
        return stamps(self.files)

    @staticmethod
    def _open(path: Path) -> Any:
        try:
            return pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise DdkitError(f"{path} is not a readable parquet file ({cause(error)})") from error


class DatasetRows:
    """The rows of one split of a `datasets` data set, from its memory-mapped files."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    @property
    def schema(self) -> Any:
        return self.dataset.features.arrow_schema

    def column(self, name: str, first: int = 0) -> Iterator[Any]:
        rest = self.dataset.select_columns([name]).with_format("arrow")
        if first:
            rest = rest.select(range(first, len(rest)))
        try:
            for table in rest.iter(batch_rows(self.schema.field(name).type)):
                yield from map(plain, table.column(0).chunks)
        except (pa.ArrowException, OSError) as error:
            files = ", ".join(self.identity())
            raise DdkitError(f"column '{name}' of {files} is damaged ({cause(error)})") from error

    def identity(self) -> dict[str, Any]:
        files = [Path(file["filename"]) for file in self.dataset.cache_files]
        return stamps(files) if files else {"in memory": self.dataset._fingerprint}


def batch_rows(kind: Any) -> int:
    """Return how many rows are read at once: of arrays, which are not encoded, fewer."""
    stored = getattr(kind, "storage_type", kind)
    return BATCH // 8 if pa.types.is_nested(stored) and not pa.types.is_struct(stored) else BATCH


def plain(array: Any) -> Any:
    """Return a pyarrow array as it is stored, whatever else it is to `datasets`."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def stamps(files: list[Path]) -> dict[str, Any]:
    """Return each file's size in bytes and when it was changed, in nanoseconds, by its path."""
    found = {str(path.resolve()): path.stat() for path in files}
    return {path: [each.st_size, each.st_mtime_ns] for path, each in found.items()}


def values(rows: Rows, column: str) -> Iterator[Any]:
    """Yield the column's values as Python's."""
    for array in rows.column(column):
        yield from array.to_pylist()


def chosen(rows: Rows, column: str, wanted: Tensor) -> Iterator[Any]:
    """Yield the column at the `wanted` rows (int64, rising) as consecutive pyarrow arrays."""
    start = int(wanted[0]) if len(wanted) else 0
    for array in rows.column(column, start) if len(wanted) else ():
        first, last = torch.searchsorted(wanted, torch.tensor([start, start + len(array)])).tolist()
        if last - first == len(array):
            yield array
        elif last > first:
            yield array.take(pa.array((wanted[first:last] - start).numpy()))
        if last == len(wanted):
            return
        start += len(array)


def cells(rows: Rows, column: str, wanted: Tensor) -> Iterator[tuple[int, Any]]:
    """Yield (row, pyarrow scalar) for the `wanted` rows (int64, rising)."""
    numbers = map(int, wanted.numpy())
    for array in chosen(rows, column, wanted):
        yield from zip(islice(numbers, len(array)), array, strict=True)

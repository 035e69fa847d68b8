"""Tables that are read column by column: parquet files and Hugging Face's arrow files."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
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
                for batch in file.iter_batches(BATCH, columns=[name]):
                    array = batch.column(0)[first:]
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
        for table in rest.iter(BATCH):
            yield from table.column(0).chunks

    def identity(self) -> dict[str, Any]:
        files = [Path(file["filename"]) for file in self.dataset.cache_files]
        return stamps(files) if files else {"in memory": self.dataset._fingerprint}


def stamps(files: list[Path]) -> dict[str, Any]:
    """Return each file's size in bytes and when it was changed, in nanoseconds, by its path."""
    found = {str(path.resolve()): path.stat() for path in files}
    return {path: [each.st_size, each.st_mtime_ns] for path, each in found.items()}


def values(rows: Rows, column: str) -> Iterator[Any]:
    """Yield the column's values as Python's."""
    for array in rows.column(column):
        yield from array.to_pylist()


def cells(rows: Rows, column: str, wanted: Tensor) -> Iterator[tuple[int, Any]]:
    """Yield (row, pyarrow scalar) for the `wanted` rows, in rising order; none of the others."""
    remaining = map(int, wanted.numpy())
    following = next(remaining, None)
    start = following or 0
    for array in rows.column(column, start):
        while following is not None and following < start + len(array):
            yield following, array[following - start]
            following = next(remaining, None)
        if following is None:
            return
        start += len(array)

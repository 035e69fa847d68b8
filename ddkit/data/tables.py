"""Splits from tables with an image and a label column: parquet files and Hugging Face sets."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ddkit.data import columns
from ddkit.data.causes import cause
from ddkit.data.decoding import decode
from ddkit.data.options import DataOptions
from ddkit.data.selection import class_indices
from ddkit.data.split import Split
from ddkit.errors import DdkitError

SplitName = Literal["train", "test"]

SPLIT_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "test": ("test", "validation", "valid", "val"),
}
BATCH = 256  # rows read at once: some 30 MB where images are of ImageNet's size


class Rows(Protocol):
    """A table that is read column by column, a batch of rows at a time."""

    @property
    def schema(self) -> Any:
        """The pyarrow schema; its metadata holds Hugging Face's features, where there are any."""

    def column(self, name: str) -> Iterator[Any]:
        """Yield the column as consecutive pyarrow arrays."""


class ParquetRows:
    """The rows of parquet files, one file after the other."""

    def __init__(self, files: list[Path]):
        self.files = files

    @cached_property
    def schema(self) -> Any:
        return self._open(self.files[0]).schema_arrow

    def column(self, name: str) -> Iterator[Any]:
        for path in self.files:
            file = self._open(path)
            if name not in file.schema_arrow.names:
                raise DdkitError(f"{path} has no column '{name}', unlike {self.files[0].name}")
            try:
                for batch in file.iter_batches(BATCH, columns=[name]):
                    yield batch.column(0)
            except (pa.ArrowException, OSError) as error:
                raise DdkitError(f"{path} is damaged ({cause(error)})") from error

    @staticmethod
    def _open(path: Path) -> Any:
        try:
            return pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise DdkitError(f"{path} is no readable parquet file ({cause(error)})") from error


class DatasetRows:
    """The rows of one split of a `datasets` data set, from its memory-mapped files."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    @property
    def schema(self) -> Any:
        return self.dataset.features.arrow_schema

    def column(self, name: str) -> Iterator[Any]:
        for table in self.dataset.select_columns([name]).with_format("arrow").iter(BATCH):
            yield from table.column(0).chunks


def read_split(
    tables: Mapping[str, Rows], options: DataOptions, split: SplitName, where: str
) -> Split:
    """Return a split of the data set `where`, whose `tables` bear its own names of the splits.

    Only images of the chosen classes are decoded. The training table defines the classes.
    Raises `DdkitError` for a split that is missing or empty, columns that can't be told, labels
    that the training table doesn't know, and images that can't be read.
    """
    name = choose_table(tables, options, split, where)
    rows, place = tables[name], f"the {name} split of {where}"
    images = columns.image_column(rows.schema, options.image_column, place)
    labels = columns.label_column(rows.schema, options.label_column, place)
    classes = vocabulary(tables.get("train", rows), labels, where)

    chosen = class_indices(list(classes.values()), options.classes)
    values = list(classes)
    codes = dict.fromkeys(values, -1) | {values[old]: new for new, old in enumerate(chosen)}
    coded = [_code(value, codes, row, place) for row, value in _numbered(rows, labels)]
    kept = [code for code in coded if code >= 0]
    if not kept:
        raise DdkitError(f"{place} holds no images" + (" of these classes" if coded else ""))

    wanted = (
        (_content(value, row, place), f"row {row} of {place}")
        for row, value in _numbered(rows, images, [code >= 0 for code in coded])
    )
    return Split(
        decode(wanted, len(kept), options.resize),
        torch.tensor(kept),
        tuple(classes[values[old]] for old in chosen),
    )


def choose_table(
    tables: Mapping[str, Rows], options: DataOptions, split: SplitName, where: str
) -> str:
    """Return the name of the table that holds `split`.

    For testing, a validation table stands in for a test table without labels, as ImageNet's is.
    """
    present = split_names(tables, split, where)
    for name in present[:-1]:
        if _is_labelled(tables[name], options.label_column):
            return name
    return present[-1]


def split_names(known: Iterable[str], split: SplitName, where: str) -> list[str]:
    """Return those of the `known` names that stand for `split`, the best first; never none."""
    names = list(known)
    present = [name for name in SPLIT_NAMES[split] if name in names]
    if not present:
        raise DdkitError(
            f"{where} has no {split} split: it has {', '.join(names)}, "
            f"and {' or '.join(SPLIT_NAMES[split])} is needed"
        )
    return present


def vocabulary(rows: Rows, column: str, where: str) -> dict[Any, str]:
    """Return the name of the class that each value of the label column stands for, in order."""
    named = columns.class_names(rows.schema, column)
    if named is not None:
        return dict(enumerate(named))
    if column not in rows.schema.names:
        raise DdkitError(f"the train split of {where} has no column '{column}'")
    values = {value for _, value in _numbered(rows, column)}
    return {value: str(value) for value in sorted(values - {None})}


def _is_labelled(rows: Rows, wanted: str | None) -> bool:
    try:
        column = columns.label_column(rows.schema, wanted, "")
    except DdkitError:
        return False
    return any(value not in (None, -1) for _, value in _numbered(rows, column))


def _numbered(rows: Rows, column: str, kept: list[bool] | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (row, value) for the rows that are `kept`; other values are never made Python's."""
    row = 0
    for array in rows.column(column):
        if kept is None:
            yield from enumerate(array.to_pylist(), row)
        else:
            for offset in range(len(array)):
                if kept[row + offset]:
                    yield row + offset, array[offset].as_py()
        row += len(array)


def _code(value: Any, codes: dict[Any, int], row: int, place: str) -> int:
    """The new label of a value, -1 for a class that isn't kept."""
    if value in codes:
        return codes[value]
    if value in (None, -1):
        raise DdkitError(f"row {row} of {place} has no label: a data set without labels won't do")
    raise DdkitError(f"row {row} of {place} has the label '{value}', which is none of the classes")


def _content(value: Any, row: int, place: str) -> bytes | Path:
    """The content of an image cell, or the path of the file that holds it."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and value.get("bytes") is not None:
        return bytes(value["bytes"])
    if isinstance(value, dict) and value.get("path"):
        return Path(value["path"])
    raise DdkitError(f"row {row} of {place} holds no image")

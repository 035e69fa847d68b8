"""Images whose labels stand in a text file beside them: metadata.csv, train.csv and their like."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import torch

from ddkit.data.options import DataOptions
from ddkit.data.pixels.originals import Listing
from ddkit.data.sources.columns import LABEL_NAMES
from ddkit.data.sources.image_files import ImageFiles, files_below, told
from ddkit.runtime.errors import DdkitError, cause, unknown

FILE_NAMES = ("file_name", "filename", "file", "image", "image_path", "path")
METADATA = ("metadata.csv", "metadata.jsonl")
TINY_LABELS = "val_annotations.txt"  # of Tiny ImageNet as it is unzipped

Row = dict[str, str]


@dataclass(frozen=True)
class ListedImages:
    """The images of a split as a text file lists them.

    Attributes:
        table: that file.
        root: what names of images are relative to.
        rows: (name, label) of each image, in the file's order.
    """

    table: Path
    root: Path
    rows: tuple[tuple[str, str], ...]

    @property
    def where(self) -> Path:
        return self.table

    @cached_property
    def classes(self) -> list[str]:
        """The labels: sorted as numbers where all are whole numbers, else as text."""
        labels = {label for _, label in self.rows}
        if all(label.isascii() and label.isdigit() for label in labels):
            return sorted(labels, key=lambda label: (int(label), label))
        return sorted(labels)

    def listing(self, classes: Sequence[str]) -> Listing:
        """Return the images of these classes, in the file's order.

        Raises `DdkitError` where there are none.
        """
        known = {name: label for label, name in enumerate(classes)}
        kept = [(os.fsencode(name), known[label]) for name, label in self.rows if label in known]
        if not kept:
            raise DdkitError(f"{self.table} lists no images of these classes")
        place = ["listed", str(self.root.resolve()), str(self.table.resolve()), list(classes)]
        return Listing(
            ImageFiles(self.root, [[name for name, _ in kept]], place),
            torch.tensor([label for _, label in kept]),
            tuple(classes),
            told(self._unlisted(), self.root) if self.table.name in METADATA else (),
        )

    def _unlisted(self) -> Counter[str]:
        """Return the number of images beside the file that it does not list, by their endings."""
        there = {os.fsdecode(name) for name in files_below(self.root).images}
        there -= {os.path.normpath(name) for name, _ in self.rows}
        return Counter(PurePosixPath(name).suffix.lower() for name in there)


def read_listed(table: Path, roots: Sequence[Path], options: DataOptions) -> ListedImages | None:
    """Return what a table lists, or None where it has no column of labels.

    Args:
        roots: what names may be relative to; the first one that has the first image.

    Raises:
        DdkitError: the file can't be read, has no column of names, a row lacks its image or its
            label, or an image is not there.
    """
    rows = list(_jsonl(table) if table.suffix.lower() == ".jsonl" else _csv(table))
    if not rows:
        return None
    columns = list(rows[0][1])
    label = _column(columns, options.label_column, LABEL_NAMES, table)
    if label is None:
        return None
    name = _column(columns, options.image_column, FILE_NAMES, table)
    if name is None:
        raise DdkitError(
            f"no column of {table} names the image files: call it file_name, or say which it is "
            f"with --image-column; the columns are {', '.join(columns)}"
        )
    listed = []
    for line, row in rows:
        if not row.get(name) or not row.get(label):
            lacking = label if row.get(name) else name
            raise DdkitError(f"line {line} of {table} has no '{lacking}'")
        listed.append((row[name], row[label]))
    return located(table, roots, listed)


def read_annotations(table: Path) -> ListedImages:
    """Return the validation images of Tiny ImageNet; the file says name, class and a box of each.

    Raises `DdkitError` where a line says less, or an image is not there.
    """
    lines = [line.split() for line in _text(table).splitlines() if line.strip()]
    short = [number for number, fields in enumerate(lines, 1) if len(fields) < 2]
    if short or not lines:
        raise DdkitError(f"line {short[0] if short else 1} of {table} names no image and class")
    return located(table, (table.parent / "images",), [(each[0], each[1]) for each in lines])


def located(table: Path, roots: Sequence[Path], listed: Sequence[tuple[str, str]]) -> ListedImages:
    """Return the images of (name, label), once all of them were found in one of the `roots`."""
    first = listed[0][0]
    root = next((root for root in roots if (root / first).is_file()), roots[0])
    for name, _ in listed:
        if not (root / name).is_file():
            raise DdkitError(f"{table} lists {name}, which is not in {root}")
    return ListedImages(table, root, tuple(listed))


def _column(
    columns: list[str], wanted: str | None, usual: Sequence[str], table: Path
) -> str | None:
    if wanted is not None:
        if wanted not in columns:
            raise unknown(f"column of {table}", wanted, columns)
        return wanted
    by_name = {column.lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in usual if name in by_name), None)


def _csv(table: Path) -> Iterator[tuple[int, Row]]:
    """Yield (line, row) of a table that commas, semicolons or tabs divide."""
    lines = io.StringIO(_text(table), newline="")
    header = lines.readline()
    lines.seek(0)
    reader = csv.DictReader(lines, delimiter=max(",;\t", key=header.count))
    try:
        for row in reader:
            yield reader.line_num, {str(key): str(value or "") for key, value in row.items()}
    except csv.Error as error:
        raise DdkitError(f"{table} is not a readable table ({cause(error)})") from error


def _jsonl(table: Path) -> Iterator[tuple[int, Row]]:
    """Yield (line, row) of a file with one JSON object per line."""
    for line, text in enumerate(_text(table).splitlines(), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DdkitError(f"line {line} of {table} is not JSON ({cause(error)})") from error
        if not isinstance(row, dict):
            raise DdkitError(f"line {line} of {table} is not a JSON object")
        yield line, {str(k): "" if v is None else str(v) for k, v in row.items()}


def _text(table: Path) -> str:
    try:
        return table.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DdkitError(f"{table} is not a readable text ({cause(error)})") from error


def divided(listed: ListedImages, splits: Container[str]) -> dict[str, ListedImages]:
    """Return the parts of a table whose images all lie in folders named as `splits` are."""
    parts: dict[str, list[tuple[str, str]]] = {}
    for name, label in listed.rows:
        folder, _, rest = os.path.normpath(name).partition(os.sep)
        if folder.lower() not in splits or not rest:
            return {}
        parts.setdefault(folder, []).append((rest, label))
    return {
        folder: ListedImages(listed.table, listed.root / folder, tuple(rows))
        for folder, rows in parts.items()
    }

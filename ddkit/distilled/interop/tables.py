"""Tables of images, read in the child process: parquet files, and arrow files of `datasets`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ddkit.distilled.interop.untrusted import Refusal

# columns, the first of these names that is there
IMAGES, CLASSES, SOFT = ("image",), ("label", "class_id"), ("soft_label", "logits")


def read(paths: list[str]) -> tuple[dict[str, Tensor], Any]:
    """Return the rows of all files as tensors, and their nesting for `untrusted.py`.

    They are: the image files one after the other (uint8) and where each ends, classes, and soft
    labels where the table has them; with the name of the column of classes, and Hugging Face's
    description of the columns as text.
    """
    table = pa.concat_tables([_table(path) for path in paths])
    images, classes = _column(table, IMAGES), _column(table, CLASSES)
    contents = _contents(table.column(images).combine_chunks())
    ends = torch.tensor([len(content) for content in contents]).cumsum(0)
    tensors = {
        "images": torch.frombuffer(bytearray(b"".join(contents)), dtype=torch.uint8),
        "ends": ends,
        "classes": _numbers(table.column(classes)),
    }
    if set(SOFT) & set(table.column_names):
        soft = table.column(_column(table, SOFT))
        tensors["soft"] = torch.tensor(soft.to_pylist(), dtype=torch.float32)
    described = (table.schema.metadata or {}).get(b"huggingface", b"{}").decode()
    nesting = [[name, {"tensor": name}] for name in tensors]
    said = [["class_column", {"value": classes}], ["features", {"value": described}]]
    return tensors, {"dict": [*nesting, *said]}


def _column(table: Any, names: Sequence[str]) -> str:
    """Return the first of some names that a column has."""
    for name in names:
        if name in table.column_names:
            return name
    have = ", ".join(map(str, table.column_names))
    raise Refusal(f"has no column '{names[0]}': it has {have or 'none'}")


def _table(path: str) -> Any:
    if Path(path).suffix != ".arrow":
        return pq.ParquetFile(path).read()
    with Path(path).open("rb") as file:
        return pa.ipc.open_stream(file).read_all()


def _contents(column: Any) -> list[bytes]:
    """Return the image files of a column, which holds them itself; paths elsewhere are refused."""
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = column.field("bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise Refusal(f"has images of type {column.type}, where image files are needed")
    if column.null_count or not len(column):
        raise Refusal("names image files that are elsewhere, or holds none")
    found: list[bytes] = column.to_pylist()
    return found


def _numbers(column: Any) -> Tensor:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise Refusal(f"has classes of type {column.type}, where whole numbers are needed")
    return torch.tensor(column.to_pylist(), dtype=torch.int64)

"""Which columns of a table are the images and the labels, and which classes it has."""

import json
from typing import Any

import pyarrow as pa

from ddkit.runtime.errors import DdkitError, unknown

LABEL_NAMES = ("label", "labels", "fine_label", "class", "class_id", "target")
LISTS = ("List", "LargeList", "Sequence")  # what `datasets` calls them, or called them once


def features(schema: Any) -> dict[str, Any]:
    """Return what Hugging Face stores about the columns of a pyarrow schema; {} where nothing."""
    try:
        stored = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def image_column(schema: Any, wanted: str | None, place: str) -> str:
    """Return the column of images: an Image feature, a struct with a `bytes` field, else arrays.

    `wanted` may also be a column of plain bytes. Arrays are lists within lists, of two or three
    dimensions. Raises `DdkitError` where none or several columns qualify, and for arrays of what
    has no 8-bit range.
    """
    known = features(schema)
    if wanted is not None:
        kind = _field_type(schema, wanted, place)
        if not _holds_images(kind, named=True) and _array_of(kind) is None:
            raise DdkitError(f"column '{wanted}' of {place} holds no images: {_listing(schema)}")
        candidates = [wanted]
    else:
        arrays = {name: _array_of(schema.field(name).type) for name in schema.names}
        candidates = (
            [name for name in schema.names if _kind(known, name) == "Image"]
            or [name for name in schema.names if _holds_images(schema.field(name).type)]
            or [name for name, kind in arrays.items() if kind and pa.types.is_integer(kind)]
            or [name for name, kind in arrays.items() if kind]
        )
    found = _only(candidates, schema, "image", place)
    kind = _array_of(schema.field(found).type)
    if kind is not None and not pa.types.is_integer(kind):
        raise DdkitError(
            f"column '{found}' of {place} holds images of {kind}, whose range is not known: "
            "store them as uint8, 0 to 255"
        )
    return found


def label_column(schema: Any, wanted: str | None, place: str) -> str:
    """Return the column of labels: a ClassLabel feature, else integers or strings of a usual name.

    Where there is neither, a column of lists of them, or of floats. Of several ClassLabels, the
    one with a usual name (CIFAR-100's fine_label). Raises `DdkitError` where none or several
    qualify.
    """
    if wanted is not None:
        if not _holds_labels(_field_type(schema, wanted, place), loosely=True):
            raise DdkitError(
                f"column '{wanted}' of {place} holds neither integers nor strings: "
                f"{_listing(schema)}"
            )
        return wanted
    known = features(schema)
    usual = [name for name in schema.names if name in LABEL_NAMES]
    named = [name for name in schema.names if _kind(known, name) == "ClassLabel"]
    lists = [name for name in schema.names if _class_label(known, name) is not None]
    candidates = (
        (len(named) > 1 and [name for name in named if name in usual])
        or named
        or [name for name in usual if _holds_labels(schema.field(name).type)]
        or lists
        or [name for name in usual if _holds_labels(schema.field(name).type, loosely=True)]
    )
    return _only(candidates, schema, "label", place)


def class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """Return the names of a column of ClassLabels, or of lists of them; None for another column."""
    entry = _class_label(features(schema), column)
    if entry is None:
        return None
    return tuple(map(str, entry.get("names") or range(entry.get("num_classes") or 0)))


def _only(candidates: list[str], schema: Any, kind: str, place: str) -> str:
    if len(candidates) == 1:
        return candidates[0]
    problem = f"several columns ({', '.join(candidates)})" if candidates else "no column"
    raise DdkitError(
        f"{problem} of {place} could be the {kind}: name it with --{kind}-column; "
        f"{_listing(schema)}"
    )


def _kind(known: dict[str, Any], name: str) -> str | None:
    entry = known.get(name)
    return entry.get("_type") if isinstance(entry, dict) else None


def _class_label(known: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What is stored of a ClassLabel, also within lists."""
    entry = known.get(name)
    while isinstance(entry, list) or (isinstance(entry, dict) and entry.get("_type") in LISTS):
        entry = entry.get("feature") if isinstance(entry, dict) else next(iter(entry), None)
    return entry if isinstance(entry, dict) and entry.get("_type") == "ClassLabel" else None


def _field_type(schema: Any, name: str, place: str) -> Any:
    if name not in schema.names:
        raise unknown(f"column of {place}", name, schema.names)
    return schema.field(name).type


def _holds_images(kind: Any, named: bool = False) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return named and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: Any, loosely: bool = False) -> bool:
    """Whether these are integers or strings; `loosely`, also floats, and lists of either."""
    while loosely and is_list(kind):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or (loosely and pa.types.is_floating(kind))
    )


def is_list(kind: Any) -> bool:
    """Whether a pyarrow type is one of lists, of any or of fixed length."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def is_array(kind: Any) -> bool:
    """Whether a pyarrow type is one of arrays of two or three dimensions."""
    return _array_of(kind) is not None


def _array_of(kind: Any) -> Any:
    """The type of the values in arrays of two or three dimensions; None for all else."""
    kind, rank = getattr(kind, "storage_type", kind), 0
    while is_list(kind):
        kind, rank = kind.value_type, rank + 1
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return kind if rank in (2, 3) and number else None


def _listing(schema: Any) -> str:
    return "the columns are " + ", ".join(f"{f.name} ({_short(f.type)})" for f in schema)


def _short(kind: Any) -> str:
    if pa.types.is_struct(kind):
        return "struct"
    values = _array_of(kind)
    return str(kind) if values is None else f"arrays of {values}"

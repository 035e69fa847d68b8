"""Which columns of a table are the images and the labels, and which classes it has."""

import json
from typing import Any

import pyarrow as pa

from ddkit.runtime.errors import DdkitError, unknown

LABEL_NAMES = ("label", "labels", "fine_label", "class", "class_id", "target")


def features(schema: Any) -> dict[str, Any]:
    """Return what Hugging Face stores about the columns of a pyarrow schema; {} where nothing."""
    try:
        stored = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def image_column(schema: Any, wanted: str | None, place: str) -> str:
    """Return the column of encoded images: an Image feature, or a struct with a `bytes` field.

    `wanted` may also be a column of plain bytes. Raises `DdkitError` where none or several
    qualify.
    """
    if wanted is not None:
        if not _holds_images(_field_type(schema, wanted, place), named=True):
            raise DdkitError(f"column '{wanted}' of {place} holds no images: {_listing(schema)}")
        return wanted
    known = features(schema)
    candidates = [name for name in schema.names if _kind(known, name) == "Image"] or [
        name for name in schema.names if _holds_images(schema.field(name).type)
    ]
    return _only(candidates, schema, "image", place)


def label_column(schema: Any, wanted: str | None, place: str) -> str:
    """Return the column of labels: a ClassLabel feature, else integers or strings of a usual name.

    Of several ClassLabels, the one with a usual name (CIFAR-100's fine_label). Raises
    `DdkitError` where none or several qualify.
    """
    if wanted is not None:
        if not _holds_labels(_field_type(schema, wanted, place)):
            raise DdkitError(
                f"column '{wanted}' of {place} holds neither integers nor strings: "
                f"{_listing(schema)}"
            )
        return wanted
    known = features(schema)
    usual = [name for name in schema.names if name in LABEL_NAMES]
    candidates = [name for name in schema.names if _kind(known, name) == "ClassLabel"]
    if not candidates:
        candidates = [name for name in usual if _holds_labels(schema.field(name).type)]
    elif len(candidates) > 1:
        candidates = [name for name in candidates if name in usual] or candidates
    return _only(candidates, schema, "label", place)


def class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """Return the names of a ClassLabel column, None for another column."""
    known = features(schema)
    if _kind(known, column) != "ClassLabel":
        return None
    names = known[column].get("names")
    return tuple(map(str, names or range(known[column].get("num_classes") or 0)))


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


def _field_type(schema: Any, name: str, place: str) -> Any:
    if name not in schema.names:
        raise unknown(f"column of {place}", name, schema.names)
    return schema.field(name).type


def _holds_images(kind: Any, named: bool = False) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return named and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )


def _listing(schema: Any) -> str:
    return "the columns are " + ", ".join(f"{f.name} ({_short(f.type)})" for f in schema)


def _short(kind: Any) -> str:
    return "struct" if pa.types.is_struct(kind) else str(kind)

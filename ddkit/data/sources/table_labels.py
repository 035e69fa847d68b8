"""Labels in a column of a table: a class for each row, or none."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ddkit.data.sources import columns
from ddkit.data.sources.parquet import Rows, values
from ddkit.runtime.errors import DdkitError


def labels_of(rows: Rows, column: str, place: str) -> Iterator[Any]:
    """Yield each row's label: an integer, a boolean or a name; None where it has none.

    A row has none where it holds null, NaN, -1, no text or an empty list. A list of one label is
    that label. Raises `DdkitError` for several labels of an image and for fractions.
    """
    for row, value in enumerate(values(rows, column)):
        while isinstance(value, list):
            if len(value) > 1:
                raise DdkitError(
                    f"row {row} of {place} has {len(value)} labels in the column '{column}', and "
                    "ddkit needs one class for each image: keep the rows with one, or name a "
                    "column of single labels with --label-column"
                )
            value = value[0] if value else None
        if isinstance(value, float):  # whole numbers of which some are missing become floats
            value = None if value != value else int(value) if value.is_integer() else value
            if isinstance(value, float):
                raise DdkitError(
                    f"row {row} of {place} has the label {value}, which is not a class"
                )
        yield None if value in (-1, "") else value


def vocabulary(rows: Rows, column: str, place: str) -> dict[Any, str]:
    """Return the name of the class that each label of the column stands for, in order."""
    named = columns.class_names(rows.schema, column)
    if named is not None:
        return dict(enumerate(named))
    if column not in rows.schema.names:
        raise DdkitError(f"{place} has no column '{column}'")
    found = set(labels_of(rows, column, place)) - {None}
    return {value: str(value) for value in sorted(found)}


def coded(
    rows: Rows, column: str, known: Sequence[Any], chosen: Sequence[int] | None, place: str
) -> Tensor:
    """Return the new label of each row, int64; -1 where its class isn't kept.

    Args:
        known: the labels that there are; where `chosen` is given, only the classes at these
            places are kept, in that order.

    Raises:
        DdkitError: a label is not `known`, or a row has none and classes aren't chosen.
    """
    codes = dict.fromkeys(known, -1)
    codes |= {
        known[old]: new for new, old in enumerate(range(len(known)) if chosen is None else chosen)
    }
    new, bare = [], []
    for row, label in enumerate(labels_of(rows, column, place)):
        if label is None:
            bare.append(row)
        elif label not in codes:
            raise DdkitError(
                f"row {row} of {place} has the label '{label}', which is not one of the classes"
            )
        new.append(codes.get(label, -1))
    if bare and chosen is None:
        raise DdkitError(
            f"{len(bare)} of {len(new)} rows of {place} have no label (-1, null or NaN; the first "
            f"is row {bare[0]}): remove these rows, or name the classes to keep with --classes"
        )
    return torch.tensor(new)


def is_labelled(rows: Rows, wanted: str | None, place: str) -> bool:
    """Return whether any row has a label."""
    try:
        column = columns.label_column(rows.schema, wanted, place)
    except DdkitError:
        return False
    return any(label is not None for label in labels_of(rows, column, place))

"""Splits from tables with an image and a label column: parquet files and Hugging Face sets."""

from collections.abc import Iterable, Mapping
from typing import Literal

from ddkit.data.options import DataOptions
from ddkit.data.pixels.originals import Listing
from ddkit.data.sources import columns
from ddkit.data.sources.parquet import Rows
from ddkit.data.sources.selection import class_indices
from ddkit.data.sources.table_images import TableImages
from ddkit.data.sources.table_labels import coded, is_labelled, vocabulary
from ddkit.runtime.errors import DdkitError

SplitName = Literal["train", "test"]

SPLIT_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "test": ("test", "validation", "valid", "val"),
}


def read_split(
    tables: Mapping[str, Rows], options: DataOptions, split: SplitName, where: str
) -> Listing:
    """Return a split of the data set `where`, whose `tables` bear its own names of the splits.

    It lists only images of the chosen classes. The training table defines the classes.
    Raises `DdkitError` for a split that is missing or empty, columns that can't be told, and labels
    that the training table doesn't know.
    """
    name = choose_table(tables, options, split, where)
    rows, place = tables[name], f"the {name} split of {where}"
    images = columns.image_column(rows.schema, options.image_column, place)
    labels = columns.label_column(rows.schema, options.label_column, place)
    defining = "train" if "train" in tables else name
    classes = vocabulary(tables[defining], labels, f"the {defining} split of {where}")

    chosen = class_indices(list(classes.values()), options.classes)
    new = coded(rows, labels, list(classes), chosen if options.classes else None, place)
    kept = new >= 0
    if not kept.any():
        raise DdkitError(f"{place} holds no images" + (" of these classes" if len(new) else ""))
    names = list(classes.values())
    return Listing(
        TableImages(rows, images, kept.nonzero()[:, 0], place),
        new[kept],
        tuple(names[old] for old in chosen),
    )


def choose_table(
    tables: Mapping[str, Rows], options: DataOptions, split: SplitName, where: str
) -> str:
    """Return the name of the table that holds `split`.

    For testing, a validation table stands in for a test table without labels, as ImageNet's is.
    """
    present = split_names(tables, split, where)
    for name in present[:-1]:
        if is_labelled(tables[name], options.label_column, f"the {name} split of {where}"):
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

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
from ddkit.runtime.errors import DdkitError, NoTestSplit

SplitName = Literal["train", "test"]

SPLIT_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing", "validation", "valid", "val"),
}
SHARED = "--test-share 0.2 sets a fifth of each class aside for testing, before a set is distilled"


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
    training = named(tables, SPLIT_NAMES["train"])
    defining = training[0] if training else name
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
        untested(tables, options, where),
    )


def choose_table(
    tables: Mapping[str, Rows], options: DataOptions, split: SplitName, where: str
) -> str:
    """Return the name of the table that holds `split`.

    For testing, a validation table stands in for a test table without labels, as ImageNet's is.
    """
    known: Iterable[str] = tables
    if options.test_share is not None:  # of the training table, unless others have labels to test
        tests = named(tables, SPLIT_NAMES["test"])
        useless = {
            name
            for name in tests
            if not is_labelled(tables[name], options.label_column, f"the {name} split of {where}")
        }
        known = [name for name in tables if name not in useless]
    present = split_names(known, split, where, options.test_share)
    for name in present[:-1]:
        if is_labelled(tables[name], options.label_column, f"the {name} split of {where}"):
            return name
    return present[-1]


def named(known: Iterable[str], usual: Iterable[str]) -> list[str]:
    """Return those of the `known` names that are `usual` ones in any case, the best first."""
    names = sorted(known, key=lambda name: (name != name.lower(), name))
    return [name for each in usual for name in names if name.lower() == each]


def split_names(
    known: Iterable[str], split: SplitName, where: str, test_share: float | None = None
) -> list[str]:
    """Return those of the `known` names that stand for `split`, the best first; never none.

    With a `test_share` the training split is asked for, or the only one, whatever its name. Raises
    `DdkitError` where there is none, and for a share where there is a test split as well.
    """
    names = list(known)
    present = named(names, SPLIT_NAMES[split])
    if test_share is not None:
        tests = named(names, SPLIT_NAMES["test"])
        if present and tests:
            raise DdkitError(
                f"{where} has a test split of its own ({tests[0]}): leave out --test-share"
            )
        present = present or (names if len(names) == 1 else [])
    if not present:
        error = NoTestSplit if split == "test" else DdkitError
        raise error(
            f"{where} has no {split} split: it has {', '.join(names)}, "
            f"and {' or '.join(SPLIT_NAMES[split])} is needed"
            + (f"; {SHARED}" if len(names) == 1 else "")
        )
    return present


def untested(known: Iterable[str], options: DataOptions, where: str) -> tuple[str, ...]:
    """Return what is to be said of a set that can't be tested on, before hours of distilling."""
    if options.test_share is not None or named(known, SPLIT_NAMES["test"]):
        return ()
    return (f"{where} has no test split, which `ddkit evaluate` will need: {SHARED}",)

"""Local folders: parquet files in Hugging Face's layout, a saved set, or image files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ddkit.data.options import DataOptions
from ddkit.data.pixels.originals import Listing
from ddkit.data.sources.class_folders import ClassFolders, class_folders
from ddkit.data.sources.image_files import SUFFIXES
from ddkit.data.sources.listed import (
    METADATA,
    TINY_LABELS,
    ListedImages,
    divided,
    read_annotations,
    read_listed,
)
from ddkit.data.sources.parquet import DatasetRows, ParquetRows, Rows
from ddkit.data.sources.selection import class_indices
from ddkit.data.sources.tables import (
    SHARED,
    SPLIT_NAMES,
    SplitName,
    named,
    read_split,
    split_names,
    untested,
)
from ddkit.runtime.errors import DdkitError, NoTestSplit, cause

LAYOUTS = (
    "parquet files such as train-*.parquet and test-*.parquet, images in train/<class>/ and "
    "test/<class>/, or images with metadata.csv"
)
USUAL = {name for names in SPLIT_NAMES.values() for name in names}

Part = ClassFolders | ListedImages
"""The images of one split in their files."""


def is_path(name: str) -> bool:
    """Whether a data set's name is a path: it exists, or starts as only a path does."""
    return name.startswith((".", "/", "~")) or Path(name).is_absolute() or Path(name).exists()


def read(options: DataOptions, split: SplitName) -> Listing:
    """Return what a split of the folder `options.name` holds of the chosen classes.

    Raises `DdkitError` for a folder that is missing, empty or of no known layout, for a missing
    split, and for what is wrong with its files.
    """
    folder = Path(options.name).expanduser()
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DdkitError(f"the data folder {folder} {problem}: it should hold {LAYOUTS}")
    tables = find_tables(folder)
    if tables:
        return read_split(tables, options, split, str(folder))
    parts = find_parts(folder, options)
    if not parts:
        whole = undivided(folder, options)
        if split == "test" and options.test_share is None:
            raise NoTestSplit(f"{folder} has no test split: {SHARED}")
        listing = whole.listing(chosen(whole.classes, options))
        return replace(listing, notes=(*listing.notes, *untested((), options, str(folder))))
    name = split_names(parts, split, str(folder), options.test_share)[0]
    listing = parts[name].listing(chosen(agreed_classes(parts, name), options))
    return replace(listing, notes=(*listing.notes, *untested(parts, options, str(folder))))


def find_tables(folder: Path) -> dict[str, Rows]:
    """Return the tables of a folder by split name; {} where it holds neither parquet nor a save."""
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return _saved(folder)
    roots = [root for root in (folder, folder / "data") if root.is_dir()]
    entries = [re.split(r"-|\.parquet$", path.name)[0] for root in roots for path in root.iterdir()]
    tables: dict[str, Rows] = {}
    for name in sorted({name for name in entries if name.lower() in USUAL}):
        for root in roots:
            files = [
                *root.glob(f"{name}.parquet"),
                *root.glob(f"{name}-*.parquet"),
                *root.glob(f"{name}/*.parquet"),
            ]
            if files and name not in tables:
                tables[name] = ParquetRows(complete(sorted(files)))
    return tables


def complete(files: list[Path]) -> list[Path]:
    """Return the files as they are; raise `DdkitError` where one of its `-of-00003` is missing."""
    for path in files:
        numbered = re.search(r"-of-(\d+)$", path.stem)
        if numbered and int(numbered[1]) != len(files):
            raise DdkitError(
                f"{path.parent} holds {len(files)} parquet file(s) where {path.name} is one of "
                f"{int(numbered[1])}: fetch the missing ones, or remove those of another version"
            )
    return files


def _saved(folder: Path) -> dict[str, Rows]:
    """The tables that `datasets` wrote with `save_to_disk`."""
    import datasets  # seconds to import, and seldom needed

    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever `datasets` makes of damaged files
        raise DdkitError(f"{folder} is not a readable saved data set ({cause(error)})") from error
    if not isinstance(loaded, dict):
        return {"train": DatasetRows(loaded)}
    return {str(name): DatasetRows(dataset) for name, dataset in loaded.items()}


def find_parts(folder: Path, options: DataOptions) -> dict[str, Part]:
    """Return the splits of a folder by their own names: its folders, else what its tables say."""
    found = {path.name: path for path in sorted(folder.iterdir()) if path.name.lower() in USUAL}
    parts = {name: _part(path, options) for name, path in found.items() if path.is_dir()}
    present = {name: part for name, part in parts.items() if part is not None}
    training, classes = named(present, SPLIT_NAMES["train"]), folder / "wnids.txt"
    unzipped = any(part.where.name == TINY_LABELS for part in present.values())
    if unzipped and training and classes.is_file():
        _check_whole(present[training[0]], classes)
    if present:
        return present
    for path in sorted(folder.iterdir()):
        if path.stem.lower() in USUAL and path.suffix.lower() in (".csv", ".jsonl"):
            own = folder / path.stem
            roots = (folder, own, folder / "images", own / "images")
            listed = read_listed(path, roots, options)
            if listed is not None:
                present[path.stem] = listed
    listed = _metadata(folder, options)
    return present or dict(divided(listed, USUAL) if listed else {})


def undivided(folder: Path, options: DataOptions) -> Part:
    """Return all images of a folder without splits; raises `DdkitError` for another layout."""
    whole: Part = _metadata(folder, options) or ClassFolders(folder)
    if isinstance(whole, ClassFolders):
        below = chain(folder.glob("*/*"), folder.glob("*/*/*"))
        if not any(path.suffix.lower() in SUFFIXES for path in below):
            problem = "is not laid out as a data set" if any(folder.iterdir()) else "is empty"
            raise DdkitError(f"the data folder {folder} {problem}: it should hold {LAYOUTS}")
    return whole


def _part(root: Path, options: DataOptions) -> Part | None:
    """Return what the folder of a split holds, None where no labels can be told."""
    classes = class_folders(root)
    if classes == ["images"]:  # no class, but where others keep images whose labels lie elsewhere
        labels = root / TINY_LABELS
        return read_annotations(labels) if labels.is_file() else _metadata(root, options)
    return _metadata(root, options) or (ClassFolders(root) if classes else None)


def _metadata(folder: Path, options: DataOptions) -> ListedImages | None:
    """Return what the metadata.csv or metadata.jsonl of a folder lists; None without labels."""
    table = next((folder / name for name in METADATA if (folder / name).is_file()), None)
    return None if table is None else read_listed(table, (folder,), options)


def _check_whole(training: Part, classes: Path) -> None:
    """Raise `DdkitError` where Tiny ImageNet lacks one of the classes that a file of it names."""
    missing = set(classes.read_text("utf-8").split()) - set(training.classes)
    if missing:
        raise DdkitError(
            f"{training.where} lacks {min(missing)}, a class of {classes}: unzip the set again"
        )


def agreed_classes(parts: Mapping[str, Part], asked: str) -> list[str]:
    """Return the classes of the training split, in order; raises `DdkitError` for others beside.

    Class folders have to be the same in all splits; what is listed may lack some for testing.
    """
    first = parts[(named(parts, SPLIT_NAMES["train"]) or [asked])[0]]
    for other in parts.values():
        differing = set(other.classes) - set(first.classes)
        if isinstance(first, ClassFolders) and isinstance(other, ClassFolders):
            differing |= set(first.classes) - set(other.classes)
        if differing:
            raise DdkitError(
                f"{first.where} and {other.where} have different classes: '{min(differing)}' "
                "is in one of them only"
            )
    return first.classes


def chosen(classes: Sequence[str], options: DataOptions) -> list[str]:
    """Return the classes that are asked for, in the order asked for."""
    return [classes[index] for index in class_indices(classes, options.classes)]

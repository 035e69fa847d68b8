"""Local folders: parquet files in Hugging Face's layout, a saved set, or one folder per class."""

import re
from pathlib import Path

import torch

from ddkit.data.options import DataOptions
from ddkit.data.pixels.originals import Listing
from ddkit.data.sources.image_files import ImageFiles
from ddkit.data.sources.parquet import DatasetRows, ParquetRows, Rows
from ddkit.data.sources.selection import class_indices
from ddkit.data.sources.tables import SPLIT_NAMES, SplitName, read_split, split_names
from ddkit.runtime.errors import DdkitError, cause

LAYOUTS = (
    "parquet files such as train-*.parquet and test-*.parquet, or images in "
    "train/<class>/ and test/<class>/"
)


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
    trees = {
        name: folder / name
        for names in SPLIT_NAMES.values()
        for name in names
        if class_folders(folder / name)
    }
    if not trees:
        problem = "is not laid out as a data set" if any(folder.iterdir()) else "is empty"
        raise DdkitError(f"the data folder {folder} {problem}: it should hold {LAYOUTS}")
    return read_tree(trees, options, split, folder)


def find_tables(folder: Path) -> dict[str, Rows]:
    """Return the tables of a folder by split name; {} where it holds neither parquet nor a save."""
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return _saved(folder)
    tables: dict[str, Rows] = {}
    for names in SPLIT_NAMES.values():
        for name in names:
            for root in (folder, folder / "data"):
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


def read_tree(
    trees: dict[str, Path], options: DataOptions, split: SplitName, folder: Path
) -> Listing:
    """Return a split of images in one folder per class; class names are sorted folder names."""
    root = trees[split_names(trees, split, str(folder))[0]]
    classes = class_folders(root)
    for other in trees.values():
        differing = set(classes) ^ set(class_folders(other))
        if differing:
            raise DdkitError(
                f"{root} and {other} have different classes: '{min(differing)}' "
                "is in one of them only"
            )
    chosen = [classes[index] for index in class_indices(classes, options.classes)]
    images = ImageFiles(root, chosen)
    labels = torch.arange(len(chosen)).repeat_interleave(torch.tensor(images.counts))
    return Listing(images, labels, tuple(chosen))


def class_folders(root: Path) -> list[str]:
    """Return the sorted names of the class folders under `root`, [] where it is not a folder."""
    if not root.is_dir():
        return []
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))

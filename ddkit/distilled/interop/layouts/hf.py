"""Hugging Face data sets: columns `image`, `label` and perhaps `soft_label`, split `train`.

A folder of parquet files, or what `datasets` saves to disk. rethinkdc's sets are read too, whose
classes are a column `class_id` and soft labels a column `logits`.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from ddkit.data.sources.folders import complete
from ddkit.distilled.interop.card import card
from ddkit.distilled.interop.exchange import Given, Imported, LabelKind, Outgoing
from ddkit.distilled.interop.pictures import encoded, read_pictures
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import hard_of, soft_of, vectors_of, wrong
from ddkit.labels import HardLabels, Labels, SoftLabels
from ddkit.runtime.errors import DdkitError

FOLDER = True
FILE, CARD = "train-00000-of-00001.parquet", "README.md"


def recognises(path: Path) -> bool:
    return path.is_dir() and bool(tables(path))


def tables(path: Path) -> list[Path]:
    """Return the parquet files of the training split, or the arrow files of a saved set."""
    for root in (path, path / "data"):
        found = sorted([*root.glob("train.parquet"), *root.glob("train-*.parquet")])
        if found:
            return found
    for root in (path, path / "train"):
        if (root / "state.json").exists():
            return sorted(root.glob("data-*.arrow"))
    return []


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    found = complete(tables(path))
    if not found:
        raise DdkitError(
            f"{path} holds neither train-*.parquet nor a set saved by `datasets`: name a folder "
            "that does"
        )
    rows = files.table(found)
    names = names_in(rows["features"], rows["class_column"]) or given.class_names(path)
    contents = cut(rows["images"], rows["ends"], found[0])
    images = read_pictures(
        [(content, f"image {row} of {path}") for row, content in enumerate(contents)]
    )
    classes = hard_of(rows["classes"], len(images), names, path)
    labels: Labels = HardLabels(classes)
    if "soft" in rows and given.labels != "hard":
        vectors = vectors_of(rows["soft"], (len(images), len(names)), path)
        labels = SoftLabels(soft_of(vectors, given.labels, path), given.temperature or 1.0)
    return Imported(images, classes, labels, names, given.learning_rate)


def cut(content: Tensor, ends: Tensor, path: Path) -> list[bytes]:
    """Return the image files that lie one after the other in `content`."""
    whole = content.numpy().tobytes()
    edges = [0, *ends.tolist()]
    if edges != sorted(edges) or edges[-1] != len(whole):
        raise wrong(path, "has images of impossible lengths")
    return [whole[start:end] for start, end in pairwise(edges)]


def names_in(features: str, column: str) -> tuple[str, ...] | None:
    """Return the names of the classes, where the column is of Hugging Face's type ClassLabel."""
    try:
        names = json.loads(features)["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known and names else None


def write(outgoing: Outgoing, path: Path) -> None:
    (path / "data").mkdir()
    soft = None if outgoing.is_hard else outgoing.labels or "logits"
    dataset(outgoing, soft).to_parquet(str(path / "data" / FILE))
    (path / CARD).write_text(card(outgoing, soft), encoding="utf-8")


def dataset(outgoing: Outgoing, soft: LabelKind | None) -> Any:
    """Return the set as a `datasets.Dataset` of PNG images."""
    import datasets  # seconds to import, and seldom needed

    columns: dict[str, Any] = {
        "image": [{"bytes": encoded(image, "PNG"), "path": None} for image in outgoing.bytes()],
        "label": outgoing.classes.tolist(),
    }
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=outgoing.class_names),
    }
    if soft is not None:
        columns["soft_label"] = outgoing.soft(soft, recorded=True).tolist()
        features["soft_label"] = datasets.List(datasets.Value("float32"))
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def push(folder: Path, name: str) -> list[str]:
    """Send what `write` wrote to the Hugging Face hub; needs a network and a token.

    A card that is there stays: its owner has filled in what ddkit does not know. Returns notes.
    """
    from huggingface_hub import HfApi  # seconds to import, and seldom needed

    api = HfApi()
    api.create_repo(name, repo_type="dataset", exist_ok=True)
    kept = api.file_exists(name, CARD, repo_type="dataset")
    api.upload_folder(
        repo_id=name,
        folder_path=folder,
        repo_type="dataset",
        ignore_patterns=[CARD] if kept else None,
        delete_patterns="data/train-*.parquet",  # of an earlier set
        commit_message="A distilled set of ddkit",
    )
    return [f"{CARD} on the hub stays as it was"] if kept else []


def loading(path: Path | str) -> str:
    """Return the line for a folder, or for a set on the hub."""
    return f"import datasets; data = datasets.load_dataset({str(path)!r}, split='train')"

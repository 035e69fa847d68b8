"""Hugging Face data sets, as rethinkdc publishes them: columns `image`, `class_id`, split `train`.

A folder of parquet files, or what `datasets` saves to disk. Soft labels are a column `logits`.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from ddkit.data.sources.folders import complete
from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.pictures import encoded, read_pictures
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import hard_of, vectors_of, wrong
from ddkit.labels import HardLabels, Labels, SoftLabels
from ddkit.runtime.errors import DdkitError

FOLDER = True
FILE = "train-00000-of-00001.parquet"


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
    names = names_in(rows["features"]) or given.class_names(path)
    contents = cut(rows["images"], rows["ends"], found[0])
    images = read_pictures(
        [(content, f"image {row} of {path}") for row, content in enumerate(contents)]
    )
    classes = hard_of(rows["classes"], len(images), names, path)
    labels: Labels = HardLabels(classes)
    if "logits" in rows:
        logits = vectors_of(rows["logits"], (len(images), len(names)), path)
        labels = SoftLabels(logits, given.temperature or 1.0)
    return Imported(images, classes, labels, names, given.learning_rate)


def cut(content: Tensor, ends: Tensor, path: Path) -> list[bytes]:
    """Return the image files that lie one after the other in `content`."""
    whole = content.numpy().tobytes()
    edges = [0, *ends.tolist()]
    if edges != sorted(edges) or edges[-1] != len(whole):
        raise wrong(path, "has images of impossible lengths")
    return [whole[start:end] for start, end in pairwise(edges)]


def names_in(features: str) -> tuple[str, ...] | None:
    """Return the names of the classes, where the column is of Hugging Face's type ClassLabel."""
    try:
        names = json.loads(features)["info"]["features"]["class_id"]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known and names else None


def write(outgoing: Outgoing, path: Path) -> None:
    (path / "data").mkdir()
    dataset(outgoing).to_parquet(str(path / "data" / FILE))


def dataset(outgoing: Outgoing) -> Any:
    """Return the set as a `datasets.Dataset` of PNG images, ready to be pushed."""
    import datasets  # seconds to import, and seldom needed

    columns: dict[str, Any] = {
        "image": [{"bytes": encoded(image, "PNG"), "path": None} for image in outgoing.bytes()],
        "class_id": outgoing.classes.tolist(),
    }
    features = {
        "image": datasets.Image(),
        "class_id": datasets.ClassLabel(names=outgoing.class_names),
    }
    if not outgoing.is_hard:
        columns["logits"] = outgoing.soft("logits").tolist()
        features["logits"] = datasets.List(datasets.Value("float32"))
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def push(pushed: Any, name: str) -> None:
    """Send what `dataset` returned to the Hugging Face hub; needs a network and a token."""
    import datasets

    datasets.DatasetDict({"train": pushed}).push_to_hub(name)

"""Small data sets on disk in the layouts that ddkit reads, and photographs made of gradients."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from ddkit.data.options import DataOptions
from ddkit.data.sources.load import load
from ddkit.data.split import Split

NAMES = ["cat", "dog", "eel"]


def one_colour(value: int, size: tuple[int, int] = (4, 4)) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, (value, value, value)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Return a PNG of one colour; the size is (width, height)."""
    return one_colour


@pytest.fixture
def table() -> Callable[..., datasets.Dataset]:
    """Build a data set from pixel values, labels and, where they aren't usual, features."""

    def build(
        values: list[int], labels: list[Any], label: Any = None, **extra: tuple[Any, list[Any]]
    ) -> datasets.Dataset:
        features = {"image": datasets.Image(), "label": label or datasets.ClassLabel(names=NAMES)}
        cells = [{"bytes": one_colour(value), "path": None} for value in values]
        columns = {"image": cells, "label": labels}
        for name, (feature, content) in extra.items():
            features[name], columns[name] = feature, content
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    return build


@pytest.fixture
def splits(table: Callable[..., datasets.Dataset]) -> datasets.DatasetDict:
    """Three classes; pixel value = 10 x row for training, 100 + row for validation."""
    return datasets.DatasetDict(
        train=table(list(range(0, 90, 10)), [0, 1, 2] * 3),
        validation=table([100, 101, 102], [2, 1, 0]),
    )


@pytest.fixture
def parquet(tmp_path: Path, splits: datasets.DatasetDict) -> Path:
    """The `splits` as parquet files in Hugging Face's layout, training in two files."""
    folder = tmp_path / "pets_small"
    folder.mkdir()
    splits["train"].select(range(5)).to_parquet(folder / "train-00000-of-00002.parquet")
    splits["train"].select(range(5, 9)).to_parquet(folder / "train-00001-of-00002.parquet")
    splits["validation"].to_parquet(folder / "validation-00000-of-00001.parquet")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Write {"train/cat/1.png": bytes, …} into a folder and return it."""

    def write(files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "tree"

    return write


def picture(number: int, width: int = 48, height: int = 40) -> Image.Image:
    """Return a smooth picture that no other number gives."""
    across, down = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    planes = [np.sin(number + 5 * across), np.cos(number * 2 + 4 * down), across * down]
    return Image.fromarray((np.stack(planes, 2) * 100 + 120).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.fixture
def make_picture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture(params=["folders", "parquet"])
def photographs(request, tmp_path) -> Path:
    """Twelve JPEG files of three classes and two shapes, as a tree of folders or in parquet."""
    root = tmp_path / "photographs"
    files = [jpeg(picture(n, *((48, 40) if n % 2 else (36, 60)))) for n in range(12)]
    labels = [n // 4 for n in range(12)]
    if request.param == "folders":
        for number, (file, label) in enumerate(zip(files, labels, strict=True)):
            path = root / "train" / "abc"[label] / f"{number:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file)
        return root
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list("abc"))}
    cells = [{"bytes": file, "path": None} for file in files]
    table = datasets.Dataset.from_dict(
        {"image": cells, "label": labels}, features=datasets.Features(features)
    )
    root.mkdir()
    table.select(range(5)).to_parquet(root / "train-00000-of-00002.parquet")
    table.select(range(5, 12)).to_parquet(root / "train-00001-of-00002.parquet")
    return root


@pytest.fixture
def in_tier(monkeypatch) -> Callable[..., Split]:
    """Load the training split of a folder in a tier."""

    def read(tier: str, folder: Path, **options) -> Split:
        monkeypatch.setenv("DDKIT_TIER", tier)
        return load(DataOptions(name=str(folder), **options), "train")

    return read

"""Photographs made of gradients, and the same split in every tier."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from ddkit.data.options import DataOptions
from ddkit.data.sources.load import load
from ddkit.data.split import Split


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

"""Damaged files, thousands of them: each import refuses in one line, or what it returns is sound.

What runs a parser of another project (torch's zip and
pickle, arrow) runs in the one reading child; the rest is read in this process.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddkit.data.space import InputSpace
from ddkit.distilled.interop.exchange import Given
from ddkit.distilled.interop.formats import layout_of
from ddkit.runtime.tensors import write_tensors
from tests.distilled.interop.conftest import Reader, checkpoint, fuzz

QUICK, CHILD, SLOW = 200, 100, 10_000  # CHILD: where each file goes to the child
NAMES = ("a", "b", "c")
CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
GIVEN = Given(NAMES, InputSpace(torch.tensor([0.3]), torch.tensor([0.25])), "logits", None, 2.0, 1)


def images() -> torch.Tensor:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def check(found, channels: tuple[int, ...] = (1,)) -> None:
    """Raise AssertionError unless an imported set is sound."""
    count = len(found.classes)
    assert found.images.shape[0] == count > 0
    assert found.images.shape[1] in channels
    assert found.images.dtype in (torch.uint8, torch.float32)
    assert found.classes.dtype == torch.int64
    assert 0 <= int(found.classes.min()) <= int(found.classes.max()) < len(found.class_names)
    if found.labels.kind != "hard":
        rows = torch.arange(count)
        targets = found.labels.targets(rows, 0)
        assert targets.shape == (count, len(found.class_names))
        assert targets.isfinite().all()
        pixels = found.images.float()
        assert found.labels.view(pixels, rows, 0).shape == pixels.shape


def through(layout: str, source: Path, file: Path, files, given: Given = GIVEN) -> Reader:
    """Return the reader of a layout, with one of its files to damage."""
    channels = (1, 3)
    return Reader(file, lambda: check(layout_of(layout).read(source, given, files), channels))


def saved_arrays(folder: Path) -> Path:
    path = folder / "kip.npz"
    np.savez(path, images=images().movedim(1, 3).numpy(), labels=torch.zeros(6, 3).numpy())
    return path


def member(name: str) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Return (content, wrap): take one member out of a zip; put it back, with a right checksum."""
    seen: dict[str, bytes] = {}

    def content(whole: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            seen.update({entry: archive.read(entry) for entry in archive.namelist()})
        return seen[next(entry for entry in seen if entry.endswith(name))]

    def wrap(data: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for entry, old in seen.items():
                archive.writestr(entry, data if entry.endswith(name) else old)
        return buffer.getvalue()

    return content, wrap


def kip_inside(folder: Path, files) -> Reader:
    reader = kip(folder, files)
    reader.content, reader.wrap = member("images.npy")
    return reader


def kip(folder: Path, files) -> Reader:
    path = saved_arrays(folder)
    return through("kip", path, path, files)


def jpegs(folder: Path, files) -> Reader:
    for row, label in enumerate(CLASSES.tolist()):
        path = folder / f"new{label:03d}" / f"class{label:03d}_id{row % 2:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (40 * row, 0, 200)).save(path)
    return through("sre2l", folder, path, files)


def pngs(folder: Path, files) -> Reader:
    for row, label in enumerate(CLASSES.tolist()):
        path = folder / NAMES[label] / f"{row}.png"
        path.parent.mkdir(exist_ok=True)
        Image.effect_noise((16, 16), 50).save(path)
    about = {"format": "ddkit.labels", "temperature": 1.0}
    write_tensors(folder / "labels.safetensors", {"logits": torch.zeros(6, 3)}, about)
    return through("imagefolder", folder, path, files)


def beside(folder: Path, files) -> Reader:
    return through(
        "imagefolder", folder, pngs(folder, files).file.parents[1] / "labels.safetensors", files
    )


def dc(folder: Path, files, zipped: bool = True) -> Reader:
    path = folder / "res.pt"
    value = {"data": [[images(), CLASSES]], "accs_all_exps": {"ConvNet": [np.float64(0.5)]}}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return through("dc", path, path, files)


def dc_inside(folder: Path, files) -> Reader:
    reader = dc(folder, files)
    reader.content, reader.wrap = member("data.pkl")
    return reader


def mtt(folder: Path, files) -> Reader:
    torch.save(images(), folder / "images_best.pt")
    torch.save(torch.zeros(6, 3), folder / "labels_best.pt", _use_new_zipfile_serialization=False)
    return through("mtt", folder, folder / "labels_best.pt", files)


def fkd(folder: Path, files) -> Reader:
    jpegs(folder, files)
    (folder / "fkd" / "epoch_0").mkdir(parents=True)
    path = folder / "fkd" / "epoch_0" / "batch_0.tar"
    saved = [
        torch.tensor([[0, 0, 1, 1.0]] * 6),
        torch.zeros(6),
        torch.arange(6),
        np.float64(0.5),
        tuple(map(np.int64, (0, 0, 8, 8))),
        torch.zeros(6, 3).half(),
    ]
    torch.save(saved, path, _use_new_zipfile_serialization=False)
    given = Given(NAMES, GIVEN.space, None, None, 2.0, None, folder / "fkd")
    return through("sre2l", folder, path, files, given)


def parquet(folder: Path, files) -> Reader:
    import datasets

    columns = {
        "image": [Image.new("L", (8, 8), 40 * row) for row in range(6)],
        "class_id": CLASSES.tolist(),
        "logits": [[0.0] * 3] * 6,
    }
    features = {
        "image": datasets.Image(),
        "class_id": datasets.ClassLabel(names=list(NAMES)),
        "logits": datasets.List(datasets.Value("float32")),
    }
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(folder / "train.parquet")
    return through("hf", folder, folder / "train.parquet", files)


def arrow(folder: Path, files) -> Reader:
    import datasets

    columns = {
        "image": [Image.new("L", (8, 8), 40 * row) for row in range(6)],
        "class_id": CLASSES.tolist(),
    }
    datasets.Dataset.from_dict(columns).save_to_disk(folder)
    return through("hf", folder, next(folder.glob("*.arrow")), files)


def flax(folder: Path, files) -> Reader:
    path = folder / "checkpoint_3"
    path.write_bytes(checkpoint(images(), torch.zeros(6, 3)))
    return through("frepo", path, path, files, Given(NAMES, GIVEN.space))


READERS: dict[str, Callable[[Path, object], Reader]] = {
    "npz": kip,
    "array in an npz": kip_inside,
    "jpeg": jpegs,
    "png": pngs,
    "soft labels beside pictures": beside,
    "pt": dc,
    "pickle in a pt": dc_inside,
    "pt before torch 1.6": lambda folder, files: dc(folder, files, zipped=False),
    "pair of pt": mtt,
    "fkd": fkd,
    "parquet": parquet,
    "arrow": arrow,
    "flax": flax,
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused_or_read_soundly(tmp_path, files, name):
    reader = READERS[name](tmp_path, files)
    cases = QUICK if reader.file.suffix in (".npz", ".jpg", ".png", ".safetensors") else CHILD
    assert fuzz(reader, cases) > cases / 20  # damage is seen where it can be


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files_are_refused_or_read_soundly(tmp_path, files, name):
    fuzz(READERS[name](tmp_path, files), SLOW)

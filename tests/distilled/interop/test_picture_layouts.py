"""Layouts of image files: folders by class, FKD's labels beside them, Hugging Face's tables."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.datasets import ImageFolder

from ddkit.data.loading.resident import Resident
from ddkit.data.split import Split
from ddkit.evaluation.accuracy import evaluate_with, protocol_for
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import write_tensors
from tests.distilled.interop.conftest import all_pixels

NAMES = ("cat", "dog", "emu")
SAID = {"classes": NAMES, "mean": (0.5,) * 3, "std": (0.2,) * 3}
SIZE = 16
TRUST = ("labels",)  # those of these tests are noise


@pytest.fixture
def pictures() -> np.ndarray:
    """Two smooth colour images for each of three classes: uint8 (6, 16, 16, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    blow = [
        Image.fromarray(each).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for each in coarse
    ]
    return np.stack([np.asarray(each) for each in blow])


def save_folders(root: Path, pictures: np.ndarray, folder: str, name: str) -> Path:
    for row, picture in enumerate(pictures):
        path = root / folder.format(c=row // 2) / name.format(c=row // 2, i=row % 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return root


SRE2L = ("new{c:03d}", "class{c:03d}_id{i:03d}.jpg")
RDED = ("{c:05d}", "class{c:05d}_id{i:05d}.jpg")


def decoded(root: Path) -> Tensor:
    """Return what torchvision reads, in its order: float (6, 3, 16, 16) in 0 to 1."""
    return torch.stack([TF.to_tensor(image) for image, _ in ImageFolder(root)])


@pytest.mark.parametrize(("name", "layout"), [("sre2l", SRE2L), ("rded", RDED)])
def test_numbered_folders_come_in_and_go_out(tmp_path, bring, send, pictures, name, layout):
    root = save_folders(tmp_path / "set", pictures, *layout)
    found = bring(root, **SAID)
    assert found.metadata["imported"]["format"] == name
    assert found.file["images"].dtype == torch.uint8
    assert torch.allclose(all_pixels(found), decoded(root))
    assert found.classes.tolist() == [0, 0, 1, 1, 2, 2]
    out = send(found, name, "out")
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.jpg")) == names
    assert (decoded(out) - decoded(root)).abs().max() < 0.05  # JPEG is not exact


class Cropped(Dataset):
    """What FKD's data set yields while labels are made: crop and flip, and their parameters."""

    def __init__(self, root: Path):
        self.images = decoded(root)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        random = np.random.default_rng(index)
        height, width = random.integers(5, SIZE + 1, 2)
        top, left = random.integers(0, SIZE - height + 1), random.integers(0, SIZE - width + 1)
        flip = bool(random.integers(2))
        image = TF.resized_crop(
            self.images[index], top, left, height, width, [SIZE, SIZE], antialias=False
        )
        crop = torch.tensor([top, left, height, width]) / SIZE
        return (TF.hflip(image) if flip else image), crop, flip, index


def save_fkd(root: Path, folder: Path, epochs: int, mix: str, batch: int = 4):
    """Write labels as FKD does, and return what the teacher saw: {(epoch, image): (view, logits)}.

    The loader's order follows from its sampler's generator alone, which lives through all epochs.
    """
    data = Cropped(root)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(42))
    loader = DataLoader(data, batch_size=batch, sampler=sampler)
    torch.manual_seed(5)
    seen = {}
    for epoch in range(epochs):
        (folder / f"epoch_{epoch}").mkdir(parents=True)
        for number, (images, crops, flips, rows) in enumerate(loader):
            partner, weight, box = None, None, None
            if mix != "none":
                partner = torch.randperm(len(images))
                weight = np.float64(0.75)
            if mix == "cutmix":
                box = (np.int64(2), np.int64(4), np.int64(10), np.int64(12))
                images = images.clone()
                images[:, :, 2:10, 4:12] = images[partner][:, :, 2:10, 4:12]
            if mix == "mixup":
                images = images * 0.75 + 0.25 * images[partner]
            logits = torch.randn(len(images), 3).half()
            saved = [crops, flips, partner, weight, box, logits]
            torch.save(saved, folder / f"epoch_{epoch}" / f"batch_{number}.tar")
            for view, row, label in zip(images, rows.tolist(), logits, strict=True):
                seen[epoch, row] = (view, label)
    return seen


@pytest.mark.parametrize(
    ("name", "layout", "mix"),
    [
        ("sre2l", SRE2L, "cutmix"),
        ("sre2l", SRE2L, "mixup"),
        ("sre2l", SRE2L, "none"),
        ("rded", RDED, "cutmix"),
    ],
)
def test_fkd_labels_are_replayed_as_the_teacher_saw_them(
    tmp_path, bring, send, pictures, files, name, layout, mix
):
    root = save_folders(tmp_path / "set", pictures, *layout)
    seen = save_fkd(root, tmp_path / "fkd", 3, mix)
    found = bring(root, soft_labels=tmp_path / "fkd", temperature=20.0, trust=TRUST, **SAID)
    assert found.labels.kind == "epoch"
    assert found.labels.temperature == 20
    rows = torch.arange(6)
    for epoch in range(3):
        views = found.labels.view(all_pixels(found), rows, epoch)
        targets = found.labels.targets(rows, epoch)
        for row in range(6):
            view, logits = seen[epoch, row]
            assert torch.equal(targets[row], logits.float())
            assert torch.allclose(views[row], view, atol=1e-4)
    soft = protocol_for("soft").with_recipe(epochs=3)
    cpu = torch.device("cpu")
    test = Resident(Split(found.file["images"], found.classes, NAMES), found.space, cpu)
    assert len(evaluate_with(soft, found, test, "convnet:width=4", [0, 1], cpu).accuracies) == 2
    out = send(found, name, "out", batch_size=4)
    for path in (tmp_path / "fkd").rglob("*.tar"):
        again = files.torch(out / "fkd" / path.relative_to(tmp_path / "fkd"))
        before = files.torch(path)
        assert torch.equal(again[5], before[5])
        assert torch.allclose(again[0], before[0].float())
        assert torch.equal(again[1].bool(), before[1].bool())
        assert (again[2] is None) == (before[2] is None)
        assert again[2] is None or torch.equal(again[2].long(), before[2])
        assert again[3:5] == before[3:5]


@pytest.mark.parametrize("size", [1, 3])
def test_labels_go_out_in_their_own_batches_only(tmp_path, bring, send, pictures, size):
    root = save_folders(tmp_path / "set", pictures, *SRE2L)
    save_fkd(root, tmp_path / "fkd", 2, "cutmix", batch=2)
    found = bring(root, soft_labels=tmp_path / "fkd", temperature=20.0, trust=TRUST, **SAID)
    with pytest.raises(DdkitError, match="--batch-size"):
        send(found, "sre2l", "out", batch_size=size)
    assert not list(tmp_path.glob("*out*"))


def test_an_imagefolder_has_its_classes_names(tmp_path, bring, send, pictures):
    root = save_folders(tmp_path / "set", pictures, "class {c}", "{i}.png")
    logits = torch.arange(18.0).view(6, 3)
    write_tensors(
        root / "labels.safetensors",
        {"logits": logits},
        {"format": "ddkit.labels", "temperature": 2.0},
    )
    found = bring(root, mean=SAID["mean"], std=SAID["std"], trust=TRUST)
    assert found.class_names == ["class 0", "class 1", "class 2"]
    expected = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    assert torch.equal(found.file["images"], expected)
    assert torch.equal(found.labels.logits, logits)
    assert found.labels.temperature == 2
    again = bring(send(found, "imagefolder", "out"), unit=True, trust=TRUST)
    assert torch.equal(again.file["images"], expected)
    assert torch.equal(again.labels.logits, logits)


def test_an_imagefolder_without_soft_labels_is_named(tmp_path, bring, send, pictures):
    root = save_folders(tmp_path / "set", pictures, "class {c}", "{i}.png")
    found = bring(root, format="imagefolder", unit=True)
    assert found.labels.kind == "hard"
    out = send(found, "imagefolder", "out")
    assert ImageFolder(out).targets == [0, 0, 1, 1, 2, 2]


def test_classes_that_folders_sort_otherwise_keep_their_labels(tmp_path, bring, send, pictures):
    root = save_folders(tmp_path / "set", pictures, *SRE2L)
    found = bring(root, classes=("emu", "cat", "dog"), mean=SAID["mean"], std=SAID["std"])
    again = bring(send(found, "imagefolder", "out"), format="imagefolder", unit=True)
    assert again.class_names == ["cat", "dog", "emu"]
    assert torch.equal(all_pixels(again), all_pixels(found)[[2, 3, 4, 5, 0, 1]])


def rethinkdc(pictures: np.ndarray, *, named: bool) -> datasets.Dataset:
    """Return a set with the columns that rethinkdc publishes."""
    kind = datasets.ClassLabel(names=list(NAMES)) if named else datasets.Value("int64")
    return datasets.Dataset.from_dict(
        {"image": [Image.fromarray(p) for p in pictures], "class_id": [0, 0, 1, 1, 2, 2]},
        features=datasets.Features({"image": datasets.Image(), "class_id": kind}),
    )


@pytest.mark.parametrize("saved", ["parquet", "parquet in data", "disk", "disk with splits"])
def test_hugging_face_sets_come_in_from_what_is_on_the_disk(tmp_path, bring, pictures, saved):
    root = tmp_path / "set"
    table = rethinkdc(pictures, named=False)
    if saved == "disk":
        table.save_to_disk(root)
    elif saved == "disk with splits":
        datasets.DatasetDict({"train": table}).save_to_disk(root)
    else:
        place = root / "data" if "data" in saved else root
        place.mkdir(parents=True)
        for part in range(2):
            table.shard(2, part, contiguous=True).to_parquet(
                place / f"train-{part:05d}-of-00002.parquet"
            )
    found = bring(root, **SAID)
    assert found.metadata["imported"]["format"] == "hf"
    assert torch.equal(found.file["images"], torch.from_numpy(pictures).permute(0, 3, 1, 2))
    assert found.classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.class_names == list(NAMES)


def test_hugging_faces_class_names_are_known(tmp_path, bring, send, pictures):
    root = tmp_path / "set"
    root.mkdir()
    rethinkdc(pictures, named=True).to_parquet(root / "train.parquet")
    found = bring(root, unit=True)
    assert found.class_names == list(NAMES)
    out = send(found, "hf", "out")
    table = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "hub"))["train"]
    assert set(table.column_names) == {"image", "label"}
    assert table.features["label"].names == list(NAMES)
    assert all(
        np.array_equal(np.asarray(row["image"]), p) for row, p in zip(table, pictures, strict=True)
    )


def test_soft_labels_are_a_column(tmp_path, bring, send, pictures):
    root = save_folders(tmp_path / "set", pictures, "class {c}", "{i}.png")
    logits = torch.randn(6, 3)
    about = {"format": "ddkit.labels", "temperature": 1.0}
    write_tensors(root / "labels.safetensors", {"logits": logits}, about)
    out = send(bring(root, unit=True, trust=TRUST), "hf", "out")
    found = bring(out, unit=True, trust=TRUST)
    assert torch.equal(found.labels.logits, logits)
    assert json.loads((out / ".ddkit-export").read_text()) == {"ddkit": "export"}

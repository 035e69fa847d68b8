"""What is no set of the named layout, or says too little, gets one line and leaves nothing."""

import multiprocessing
import os
import pickle
import sys
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddkit.distilled.interop import child
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import write_tensors
from tests.distilled.interop.conftest import MEAN, NAMES, STD, normalised

CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
SAID = {"classes": NAMES, "mean": MEAN, "std": STD}


@pytest.fixture
def refusal(tmp_path, bring):
    """Return the one line that an import is refused with; nothing may be left of it."""

    def refusal(source, **said) -> str:
        with pytest.raises(DdkitError) as caught:
            bring(source, **said)
        assert not list(tmp_path.glob("*imported-*"))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refusal


class Command:
    """Unpickled, it runs a command; as anything in a file of a stranger might."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def dc(path, images: Tensor, labels=CLASSES) -> None:
    torch.save({"data": [[images, labels]], "accs_all_exps": {}}, path)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("place", ["in a list", "beside the data", "bare"])
def test_a_file_that_would_execute_something_does_not(tmp_path, refusal, pixels, old, place):
    path, mark = tmp_path / "res_x_ipc.pt", tmp_path / "executed"
    value = {
        "in a list": {"data": [[normalised(pixels), Command(mark)]]},
        "beside the data": {"data": [[normalised(pixels), CLASSES]], "accs": Command(mark)},
        "bare": Command(mark),
    }[place]
    if place == "bare" and old:
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=not old)
    line = refusal(path, **SAID)
    assert f"{path} is damaged or holds more than plain data (UnpicklingError)" in line
    assert "nothing in it was executed" in line
    assert not mark.exists()


def test_numpys_objects_are_not_made_from_pickles(tmp_path, refusal, pixels):
    mark = tmp_path / "executed"
    np.savez(
        tmp_path / "kip.npz",
        images=normalised(pixels).movedim(1, 3).numpy(),
        labels=np.array([Command(mark)]),
    )
    assert "has labels of type object" in refusal(tmp_path / "kip.npz", **SAID)
    torch.save([np.array([1.0])], tmp_path / "res_x_ipc.pt")
    assert "more than plain data" in refusal(tmp_path / "res_x_ipc.pt", **SAID)
    assert not mark.exists()


@pytest.mark.parametrize("claim", ["expanded", "many", "nested", "compressed"])
def test_files_that_claim_more_than_they_hold_are_refused(tmp_path, refusal, claim):
    path = tmp_path / "res_x_ipc.pt"
    if claim == "expanded":
        torch.save(torch.zeros(1).expand(10**12), path)
    elif claim == "many":
        torch.save([torch.zeros(1000)] * 50_000, path)
    elif claim == "nested":
        value: list = []
        for _ in range(50):
            value = [value]
        torch.save(value, path)
    else:
        torch.save(torch.zeros(10**6), tmp_path / "plain.pt")
        with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w") as packed:
            for entry in plain.infolist():
                packed.writestr(entry, plain.read(entry), zipfile.ZIP_DEFLATED)
    said = {"nested": "lists in lists", "compressed": "parts, more than the file holds"}
    assert said.get(claim, "claims tensors that are larger") in refusal(path, **SAID)


def test_a_child_that_ends_is_followed_by_one_that_takes_no_module_from_the_current_folder(
    tmp_path, refusal, bring, pixels, monkeypatch
):
    """A downloaded folder may hold a torch.py; whoever works in it must not run that."""
    path = tmp_path / "res_x_ipc.pt"
    dc(path, normalised(pixels))
    monkeypatch.setattr("ddkit.distilled.interop.untrusted.PATIENCE", 0)
    assert "within the limits on memory and time" in refusal(path, **SAID)
    monkeypatch.undo()
    (tmp_path / "torch.py").write_text("from pathlib import Path; Path('executed').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", os.environ.get("PYTHONPATH", "")]))
    assert len(bring(path, **SAID)) == 6
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process's memory")
def test_the_childs_memory_is_limited(tmp_path):
    """A small file may ask for a large array; the child may not have it."""
    (tmp_path / "small").write_bytes(b"1")

    def ask(answers) -> None:
        child.limit([str(tmp_path / "small")])
        try:
            torch.zeros(10**10, dtype=torch.uint8)
        except (RuntimeError, MemoryError):
            answers.put("refused")
        else:
            answers.put("had it")

    fork = multiprocessing.get_context("fork")  # a child that has torch already
    answers = fork.SimpleQueue()
    process = fork.Process(target=ask, args=(answers,))
    process.start()
    assert answers.get() == "refused"
    process.join()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", ["res_x_ipc.pt", "kip.npz"])
def test_truncated_files_are_refused(tmp_path, refusal, pixels, name, share):
    path = tmp_path / name
    if name.endswith(".pt"):
        dc(path, normalised(pixels))
    else:
        np.savez(path, images=pixels.movedim(1, 3).numpy(), labels=CLASSES.numpy())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert str(path) in refusal(path, **SAID)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(6, 8, 8), CLASSES, "a tensor of float32 [6, 8, 8]"),
        (torch.zeros(6, 2, 8, 8), CLASSES, "images of shape [6, 2, 8, 8]"),
        (torch.zeros(6, 1, 8, 9999), CLASSES, "images of shape"),
        (torch.zeros(0, 1, 8, 8), CLASSES[:0], "images of shape"),
        (torch.zeros(6, 1, 8, 8).int(), CLASSES, "a tensor of int32"),
        (torch.full((6, 1, 8, 8), float("nan")), CLASSES, "not finite"),
        (torch.zeros(6, 3, 8, 8), CLASSES, "3 channels"),
        (torch.zeros(6, 1, 8, 8), CLASSES[:5], "labels of shape [5] for 6 images"),
        (torch.zeros(6, 1, 8, 8), CLASSES + 1, "labels from 1 to 3, but 3 classes were named"),
        (torch.zeros(6, 1, 8, 8), CLASSES - 1, "labels from -1 to 1"),
        (torch.zeros(6, 1, 8, 8), CLASSES.float(), "where classes belong"),
        (torch.zeros(6, 1, 8, 8), "labels", "'labels' where classes belong"),
    ],
)
def test_wrong_tensors_are_named(tmp_path, refusal, images, labels, words):
    dc(tmp_path / "res_x_ipc.pt", images, labels)
    assert words in refusal(tmp_path / "res_x_ipc.pt", **SAID)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"data": []},
        {"data": [[1, 2, 3]]},
        {"data": None},
        3,
        "text",
        None,
        {"data": {"a": 1}},
    ],
)
def test_another_nesting_is_refused(tmp_path, refusal, value):
    torch.save(value, tmp_path / "res_x_ipc.pt")
    assert "of another format (--format)" in refusal(tmp_path / "res_x_ipc.pt", **SAID)


@pytest.mark.parametrize(
    ("labels", "said", "words"),
    [
        (torch.randn(6, 3), {}, "what its labels are: give --labels"),
        (torch.randn(6, 4), {"labels": "logits"}, "labels of shape [6, 4]"),
        (torch.randn(6, 3), {"labels": "probabilities"}, "not probabilities"),
        (CLASSES, {"labels": "logits"}, "has classes, and no logits"),
        (torch.full((6, 3), float("inf")), {"labels": "logits"}, "not finite"),
    ],
)
def test_soft_labels_are_checked(tmp_path, refusal, pixels, labels, said, words):
    torch.save(normalised(pixels), tmp_path / "images_best.pt")
    torch.save(labels, tmp_path / "labels_best.pt")
    assert words in refusal(tmp_path / "images_best.pt", **{**SAID, **said})


def test_a_missing_companion_is_named(tmp_path, refusal, pixels):
    torch.save(normalised(pixels), tmp_path / "images_best.pt")
    assert f"no such file: {tmp_path / 'labels_best.pt'}" in refusal(
        tmp_path / "images_best.pt", **SAID
    )


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ("classes", "the names of its classes: give --classes"),
        ("mean", "--mean and --std belong together"),
        ("std", "--mean and --std belong together"),
    ],
)
def test_what_a_file_does_not_record_must_be_said(tmp_path, refusal, pixels, left_out, words):
    path = tmp_path / "res_x_ipc.pt"
    dc(path, normalised(pixels))
    assert words in refusal(path, **{key: SAID[key] for key in SAID if key != left_out})


def test_no_constants_are_guessed(tmp_path, refusal, pixels):
    dc(tmp_path / "res_x_ipc.pt", normalised(pixels))
    line = refusal(tmp_path / "res_x_ipc.pt", classes=NAMES)
    assert "does not record how pixels became network inputs: give --mean and --std" in line
    torch.save([pixels, CLASSES], tmp_path / "a.pt")
    assert "--factor" in refusal(tmp_path / "a.pt", format="idc", **SAID)


def test_an_ambiguous_name_needs_a_format(tmp_path, refusal, pixels):
    torch.save([pixels, CLASSES], tmp_path / "a.pt")
    assert "give --format, one of apm, dc," in refusal(tmp_path / "a.pt", **SAID)
    assert "did you mean 'apm'?" in refusal(tmp_path / "a.pt", format="apn", **SAID)
    assert "no such file or folder" in refusal(tmp_path / "b.pt", **SAID)


def test_the_data_must_fit(tmp_path, refusal, digits):
    dc(tmp_path / "res_x_ipc.pt", torch.zeros(6, 1, 9, 9))
    assert "those of the data are (1, 8, 8)" in refusal(tmp_path / "res_x_ipc.pt", data=digits)


@pytest.fixture
def folder(tmp_path):
    """Write an SRe2L folder of three classes, one image each."""
    for label in range(3):
        (tmp_path / "set" / f"new{label:03d}").mkdir(parents=True)
        path = tmp_path / "set" / f"new{label:03d}" / f"class{label:03d}_id000.jpg"
        Image.new("RGB", (16, 16), (80 * label, 0, 0)).save(path)
    return tmp_path / "set"


COLOUR = {"classes": NAMES, "unit": True}


def test_a_picture_that_claims_to_be_huge_is_not_decoded(tmp_path, folder, refusal):
    def chunk(kind: bytes, data: bytes) -> bytes:
        code = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + code

    size = (60_000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + size + bytes([8, 2, 0, 0, 0]))
    (folder / "new001" / "class001_id000.jpg").write_bytes(bomb + chunk(b"IEND", b""))
    assert "class001_id000.jpg" in refusal(folder, **COLOUR)
    small = (5000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", small + small + bytes([8, 2, 0, 0, 0]))
    (folder / "new001" / "class001_id000.jpg").write_bytes(bomb + chunk(b"IEND", b""))
    assert "claims 5000x5000 pixels" in refusal(folder, **COLOUR)


def test_pictures_of_several_sizes_and_kinds_are_refused(folder, refusal):
    path = folder / "new002" / "class002_id000.jpg"
    Image.new("RGB", (15, 16)).save(path)
    assert "15x16 pixels, the images before it 16x16" in refusal(folder, **COLOUR)
    Image.new("RGB", (16, 16)).save(path, format="BMP")
    assert "not a readable JPEG or PNG" in refusal(folder, **COLOUR)
    path.unlink()
    path.parent.rmdir()
    assert "2 class folders, but 3 classes were named" in refusal(folder, **COLOUR)


def batch(**changed) -> list:
    """Return an FKD batch of three rows, with some of its entries changed."""
    whole = {
        "crops": torch.tensor([[0, 0, 1, 1.0]] * 3),
        "flips": torch.zeros(3, dtype=torch.bool),
        "partner": torch.tensor([1, 2, 0]),
        "weight": np.float64(0.5),
        "box": tuple(map(np.int64, (0, 0, 8, 8))),
        "logits": torch.zeros(3, 3).half(),
    }
    return list({**whole, **changed}.values())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"partner": torch.tensor([1, 2, 3])}, "partners that are not in the batch"),
        ({"partner": torch.tensor([1, 2])}, "partners that are not in the batch"),
        ({"partner": torch.ones(3)}, "no whole numbers as partners"),
        ({"weight": 1.5}, "no weight from 0 to 1"),
        ({"box": (0, 0, 17, 8)}, "a box beyond images of 16x16"),
        ({"box": (0, 0, 8)}, "no box of four whole numbers"),
        ({"box": "none"}, "no box of four whole numbers"),
        ({"logits": torch.zeros(3, 4)}, "labels of shape [3, 4]"),
        ({"crops": torch.zeros(3, 3)}, "labels of shape [3, 3]"),
        ({"flips": torch.zeros(2)}, "no flip for each image"),
        ({"logits": torch.full((3, 3), float("nan"))}, "not finite"),
        (
            {
                "logits": torch.zeros(2, 3),
                "crops": torch.zeros(2, 4),
                "flips": torch.zeros(2),
                "partner": torch.tensor([0, 1]),
            },
            "labels of 2 images, but the set has 3",
        ),
    ],
)
def test_fkd_batches_that_do_not_fit_are_refused(tmp_path, folder, refusal, changed, words):
    (tmp_path / "fkd" / "epoch_0").mkdir(parents=True)
    torch.save(batch(**changed), tmp_path / "fkd" / "epoch_0" / "batch_0.tar")
    assert words in refusal(folder, soft_labels=tmp_path / "fkd", temperature=1.0, **COLOUR)


def test_fkd_labels_need_all_batches_and_a_temperature(tmp_path, folder, refusal):
    said = {"soft_labels": tmp_path / "fkd", **COLOUR}
    assert "--temperature" in refusal(folder, **said)
    assert "holds 0 numbered epoch entries" in refusal(folder, temperature=1.0, **said)
    (tmp_path / "fkd" / "epoch_0").mkdir(parents=True)
    torch.save(batch(), tmp_path / "fkd" / "epoch_0" / "batch_1.tar")
    assert "1 numbered batch entries" in refusal(folder, temperature=1.0, **said)


def test_a_table_of_other_columns_is_refused(tmp_path, refusal):
    import datasets

    root = tmp_path / "set"
    root.mkdir()
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(root / "train.parquet")
    assert "has no column 'image': it has text" in refusal(root, **COLOUR)
    outside = {"bytes": None, "path": "/etc/hostname"}
    datasets.Dataset.from_dict({"image": [outside], "class_id": [0]}).to_parquet(
        root / "train.parquet"
    )
    assert "image" in refusal(root, **COLOUR)


def test_soft_labels_of_another_file_are_refused(tmp_path, refusal):
    for name in NAMES:
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "set" / name / "0.png")
    write_tensors(tmp_path / "set" / "labels.safetensors", {"logits": torch.zeros(3, 3)}, {})
    assert "no labels written by `ddkit export`" in refusal(tmp_path / "set", unit=True)


@pytest.fixture
def soft(tmp_path, bring, pixels, logits):
    """Return an imported set with soft labels."""
    torch.save({"data": [normalised(pixels), logits]}, tmp_path / "a.pt")
    return bring(tmp_path / "a.pt", format="apm", **SAID)


def test_soft_labels_are_not_dropped_unasked(tmp_path, soft, send):
    with pytest.raises(DdkitError, match="drop them with --labels hard"):
        send(soft, "dc", "out.pt")
    with pytest.raises(DdkitError, match="--labels logits or --labels probabilities"):
        send(soft, "mtt", "out")
    assert not list(tmp_path.glob("*out*"))
    assert send(soft, "dc", "out.pt", labels="hard").exists()


def test_an_export_overwrites_what_an_export_made_and_nothing_else(tmp_path, soft, send):
    out = send(soft, "mtt", "out", labels="logits")
    with pytest.raises(DdkitError, match="already exists"):
        send(soft, "mtt", "out", labels="logits")
    (out / "of another format").touch()
    send(soft, "mtt", "out", labels="probabilities", overwrite=True)
    assert not (out / "of another format").exists()
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.tex").touch()
    with pytest.raises(DdkitError, match="did not make"):
        send(soft, "mtt", "home", labels="logits", overwrite=True)
    assert (precious / "thesis.tex").exists()
    with pytest.raises(DdkitError, match="is a folder"):
        send(soft, "apm", "out", overwrite=True)


def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(tmp_path, soft, send, monkeypatch):
    out = send(soft, "mtt", "out", labels="logits")
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(value, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    for name, layout in (("out", "mtt"), ("new", "mtt"), ("new.pt", "apm")):
        with pytest.raises(DdkitError, match="the disk is full"):
            send(soft, layout, name, labels="logits", overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not list(tmp_path.glob("*new*"))
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "nul\0"])
def test_class_names_are_no_paths(tmp_path, bring, send, pixels, name):
    dc(tmp_path / "res_x_ipc.pt", normalised(pixels))
    found = bring(tmp_path / "res_x_ipc.pt", **{**SAID, "classes": (name, "b", "c")})
    with pytest.raises(DdkitError, match="name of a folder"):
        send(found, "imagefolder", "out")

"""Arrays in .npz files: the layouts of MedMNIST and Keras, and what is refused of others."""

import re
import zipfile

import numpy as np
import pytest
import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources import npz
from ddkit.data.sources.load import load
from ddkit.runtime.errors import DdkitError


def grey(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 5), dtype=np.uint8)


def colour(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def write(tmp_path):
    def write(save=np.savez, **arrays):
        save(tmp_path / "set.npz", **arrays)
        return DataOptions(name=str(tmp_path / "set.npz"))

    return write


def medmnist(images, labels=lambda n: (np.arange(n) % 2)[:, None].astype(np.uint8)):
    parts = {"train": (7, 0), "val": (3, 1), "test": (5, 2)}
    return {f"{name}_images": images(*part) for name, part in parts.items()} | {
        f"{name}_labels": labels(count) for name, (count, _) in parts.items()
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("images", [grey, colour])
def test_medmnist_is_read(write, images, save):
    options = write(save, **medmnist(images))
    for split, count, seed in (("train", 7, 0), ("test", 5, 2)):
        found, expected = load(options, split), torch.from_numpy(images(count, seed))
        expected = expected[:, None] if images is grey else expected.permute(0, 3, 1, 2)
        assert torch.equal(found.take(torch.arange(count)), expected)
        assert found.labels.tolist() == [n % 2 for n in range(count)]
        assert found.classes == ("0", "1")


def test_keras_layout_is_read(write):
    labels = np.array([4, 9, 4], dtype=np.uint8)
    options = write(x_train=grey(3, 0), y_train=labels, x_test=grey(2, 1), y_test=labels[1:])
    train, test = load(options, "train"), load(options, "test")
    assert torch.equal(train.images[:, 0], torch.from_numpy(grey(3, 0)))
    assert (train.classes, train.labels.tolist()) == (("4", "9"), [0, 1, 0])
    assert test.labels.tolist() == [1, 0]


def test_validation_stands_in_for_a_missing_test_split(write):
    parts = medmnist(grey)
    options = write(**{key: part for key, part in parts.items() if not key.startswith("test")})
    assert torch.equal(load(options, "test").images[:, 0], torch.from_numpy(grey(3, 1)))


def test_a_lone_split_is_for_training(write):
    options = write(images=colour(2, 0), labels=np.array(["b", "a"]))
    assert load(options, "train").labels.tolist() == [1, 0]
    with pytest.raises(DdkitError, match="has no test split: it has train"):
        load(options, "test")


def test_classes_and_sizes_are_chosen_as_of_any_set(write):
    options = write(**medmnist(grey)).model_copy(update={"classes": ("1", "0"), "resize": 3})
    split = load(options, "train")
    assert (split.shape, split.classes) == ((1, 3, 3), ("1", "0"))
    assert split.labels.tolist() == [1, 0, 1, 0, 1, 0, 1]


def test_a_large_file_is_read_piece_by_piece_and_decoded_once(write, monkeypatch):
    monkeypatch.setattr(npz, "PIECE", 6 * 5 * 3 * 2)  # two rows
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    options = write(np.savez_compressed, **medmnist(colour))
    expected = torch.from_numpy(colour(7, 0)).permute(0, 3, 1, 2)
    assert torch.equal(load(options, "train").take(torch.arange(7)), expected)
    member = npz.find_tables(npz.Path(options.name))["train"].columns["image"]
    assert [len(part) for part in member.rows(3)] == [2, 2]
    monkeypatch.setattr(npz.Member, "rows", None)
    with pytest.raises(TypeError):  # labels are read from the source each time
        load(options, "train")


@pytest.mark.parametrize("tier", ["memory", "mapped", "encoded"])
def test_tiers_give_equal_pixels(write, monkeypatch, tier):
    monkeypatch.setenv("DDKIT_TIER", tier)
    found = load(write(**medmnist(colour)), "test").take(torch.tensor([4, 0]))
    expected = torch.from_numpy(colour(5, 2)).permute(0, 3, 1, 2)
    assert torch.equal(found, expected[[4, 0]])


def test_train_and_test_have_places_of_their_own_in_the_cache(write, monkeypatch):
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    parts = medmnist(grey)
    parts |= {"test_images": grey(7, 2), "test_labels": parts["train_labels"]}
    train, test = (load(write(**parts), split) for split in ("train", "test"))
    assert not torch.equal(train.take(torch.arange(7)), test.take(torch.arange(7)))


REFUSED = {
    "several labels": (
        medmnist(grey, lambda n: np.zeros((n, 14), np.uint8)),
        "row 0 of the train split of FILE has 14 labels",
    ),
    "floats": (
        {"x_train": grey(2, 0) / 255, "y_train": np.zeros(2, int)},
        "column 'image' of the train split of FILE holds images of double, whose range",
    ),
    "volumes": (
        {"x_train": np.zeros((2, 9, 9, 9), np.uint8), "y_train": np.zeros(2, int)},
        r"row 0 of the train split of FILE has an image of shape \(9, 9, 9\): it should be",
    ),
    "beyond 8 bits": (
        {"x_train": np.full((2, 4, 4), 256), "y_train": np.zeros(2, int)},
        "row 0 of the train split of FILE has pixels from 256 to 256: they should be 0 to 255",
    ),
    "pickles": (
        {"x_train": grey(2, 0), "y_train": np.array([{}, {}], dtype=object)},
        "FILE: the array y_train holds values of object: only numbers and text can be read$",
    ),
    "lengths": (
        {"x_train": grey(3, 0), "y_train": np.zeros(2, int)},
        "FILE holds 3 x_train and 2 y_train: there should be a label for each image$",
    ),
    "other names": ({"a": grey(2, 0), "b": grey(2, 0)}, "FILE holds a, b: it should hold train_im"),
    "nothing": ({}, "FILE holds no arrays: it should"),
    "columns first": (
        {"x_train": np.asfortranarray(grey(3, 0)), "y_train": np.zeros(3, int)},
        "FILE: the array x_train is stored column by column: store np.ascontiguousarray of it$",
    ),
    "no size": (
        {"x_train": np.zeros((3, 0, 2), np.uint8), "y_train": np.zeros(3, int)},
        r"FILE: the array x_train is of shape \(3, 0, 2\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_set_of_images_is_refused_in_one_line(write, case):
    arrays, message = REFUSED[case]
    options = write(**arrays)
    with pytest.raises(DdkitError, match="^" + message.replace("FILE", re.escape(options.name))):
        load(options, "train")


def test_damaged_files_are_named_in_one_line(write, tmp_path):
    options = write(np.savez_compressed, x_train=grey(9, 0), y_train=np.zeros(9, int))
    path = tmp_path / "set.npz"
    content = path.read_bytes()
    path.write_bytes(content[:200])
    with pytest.raises(DdkitError, match=r"set.npz is not a readable .npz file \(BadZipFile: "):
        load(options, "train")
    path.write_bytes(content[:150] + b"\xff" * 9 + content[159:])
    with pytest.raises(DdkitError, match=r"set.npz: the array x_train is damaged \(") as caught:
        load(options, "train")
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_more_than_there_is_is_refused(write, tmp_path):
    options = write(x_train=grey(9, 0), y_train=np.zeros(9, int))
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part.replace(b"(9, 6, 5)", b"(9,60, 5)"))
    with pytest.raises(DdkitError, match="array x_train is damaged: it holds fewer or more values"):
        load(options, "train")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(DdkitError, match=r"^the data file missing.npz does not exist"):
        load(DataOptions(name="missing.npz"), "train")

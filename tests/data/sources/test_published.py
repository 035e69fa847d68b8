from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources import published
from ddkit.data.sources.load import DATA, load
from ddkit.runtime.errors import DdkitError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path))
    return tmp_path / "data"


def pretend(monkeypatch, name, build):
    package = SimpleNamespace(datasets=SimpleNamespace(**{name: build}))
    monkeypatch.setattr(published, "torchvision", lambda: package)


def test_files_that_are_there_are_read_without_a_download(cache):
    raw = cache / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(2 * 28 * 28).astype(np.uint8)
    for part in ("train", "t10k"):
        header = np.array([0x803, 2, 28, 28], dtype=">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([0x801, 2], dtype=">i4").tobytes()
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + bytes([7, 1]))
    split = load(DataOptions(name="mnist"), "test")
    assert split.labels.tolist() == [7, 1]
    assert torch.equal(split.images.flatten(), torch.from_numpy(images))
    assert split.shape == (1, 28, 28)
    assert (len(split.classes), split.mirror) == (10, False)


def test_channels_come_first_whatever_torchvision_stores(monkeypatch):
    stored = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    found = SimpleNamespace(data=stored, targets=[1, 0], classes=["a", "b"])
    pretend(monkeypatch, "CIFAR10", lambda root, train: found)
    split = load(DataOptions(name="cifar10"), "train")
    assert np.array_equal(split.images, stored.transpose(0, 3, 1, 2))
    assert split.classes == ("a", "b")


def test_svhn_is_asked_by_split_name_and_gets_digit_names(monkeypatch):
    asked = []

    def build(root, split):
        asked.append(split)
        data = np.zeros((10, 3, 4, 4), np.uint8)
        return SimpleNamespace(data=data, labels=np.arange(10))

    pretend(monkeypatch, "SVHN", build)
    assert load(DataOptions(name="svhn"), "test").classes == tuple("0123456789")
    assert asked == ["test"]


def test_a_missing_set_is_downloaded_into_the_cache(monkeypatch, cache):
    asked = []

    def build(root, train, download=False):
        asked.append((root, train, download))
        if not download:
            raise RuntimeError("Dataset not found")
        return SimpleNamespace(data=np.zeros((1, 4, 4, 3), np.uint8), targets=[0], classes=["a"])

    pretend(monkeypatch, "CIFAR10", build)
    load(DataOptions(name="cifar10"), "train")
    assert asked == [(cache, True, False), (cache, True, True)]
    assert cache.is_dir()


def test_a_failed_download_is_one_line_with_the_remedies(monkeypatch):
    def build(root, train, download=False):
        raise URLError("no\nhost") if download else RuntimeError("Dataset not found")

    pretend(monkeypatch, "CIFAR10", build)
    message = (
        r"^'cifar10' could not be downloaded to .*no host.*: there is no network, or the host "
        r"does not answer; a local folder works too: --data path$"
    )
    with pytest.raises(DdkitError, match=message):
        load(DataOptions(name="cifar10"), "train")


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch):
    monkeypatch.delenv("DDKIT_CACHE")
    monkeypatch.setenv("HOME", "/somewhere")
    assert str(published.cache_folder("data")) == "/somewhere/.cache/ddkit/data"


@pytest.mark.parametrize(
    ("name", "mirror"),
    [("mnist", False), ("kmnist", False), ("svhn", False)]
    + [(name, True) for name in ("fashion-mnist", "cifar10", "cifar100", "stl10")],
)
def test_digits_and_letters_are_not_mirrored(name, mirror):
    assert DATA.load(name).mirror is mirror

"""What is in memory was decoded once: later processes take it from the cache, with equal bytes."""

import os

import pytest
import torch
from filelock import FileLock
from PIL import Image

from ddkit.config import RunConfig
from ddkit.data.loading.resident import Resident
from ddkit.data.options import DataOptions
from ddkit.data.pixels import tiers
from ddkit.data.pixels.base import Kept
from ddkit.data.pixels.decoding import Decoder
from ddkit.data.sources.load import load
from ddkit.data.sources.selection import split_holdout
from ddkit.data.space import InputSpace
from ddkit.pipeline.distill import distill

EVERYTHING = torch.arange(12)


@pytest.fixture
def opened(photographs, monkeypatch):
    """Open the photographs, decoded or from the cache: these few would not be worth its file."""

    def open_(kept, **options):
        monkeypatch.setattr(tiers, "WORTH_KEEPING", 1 if kept else 10**9)
        return load(DataOptions(name=str(photographs), resize=16, **options), "train")

    return open_


@pytest.fixture
def decoded(monkeypatch):
    """The places of all images that are decoded from now on."""
    places, one = [], Decoder.one

    def noted(self, encoded):
        places.append(encoded[1])
        return one(self, encoded)

    monkeypatch.setattr(Decoder, "one", noted)
    return places


def test_images_are_decoded_once_and_their_bytes_and_fingerprints_stay(opened, decoded):
    plain, first = opened(False), opened(True)
    assert isinstance(plain.images, torch.Tensor)
    decoded.clear()
    again = opened(True)
    assert len(decoded) <= 1  # which tells the shape
    for split in (first, again):
        assert isinstance(split.images, Kept)
        assert torch.equal(split.images.images, plain.images)
        assert split.fingerprint == plain.fingerprint
        parts = zip(split_holdout(split, 0.5, 0), split_holdout(plain, 0.5, 0), strict=True)
        for part, other in parts:
            assert torch.equal(part.take(torch.arange(len(part))), other.images)
            assert part.fingerprint == other.fingerprint


def test_fingerprints_and_statistics_are_computed_once(opened, monkeypatch):
    def figures(split):
        space = InputSpace.fit(split, "standard").fingerprint()
        return space, split.fingerprint, split_holdout(split, 0.5, 0)[1].fingerprint

    expected = figures(opened(True))
    for name in ("feed", "chunks"):
        monkeypatch.setattr(Kept, name, None)
    assert figures(opened(True)) == expected


def test_batches_are_gathered_as_those_of_any_tensor(opened):
    epochs = []
    for split in (opened(False), opened(True)):
        resident = Resident(split, InputSpace.fit(split, "standard"), "cpu")
        assert not resident.streams
        generator = torch.Generator().manual_seed(3)
        epochs.append([*resident.batches(5, generator, augmentation="crop-flip")])
    for one, other in zip(*epochs, strict=True):
        assert all(map(torch.equal, one, other))


def test_crops_with_detail_are_cut_out_of_kept_images(opened):
    generator = torch.Generator().manual_seed(3)
    tries, flips = torch.rand(4, 12, 10, generator=generator).double(), EVERYTHING % 2 == 0
    crops = [
        split.images.crops(EVERYTHING, tries, flips)
        for split in (opened(False, detail=32), opened(True, detail=32))
    ]
    assert torch.equal(*crops)


def test_who_writes_into_the_images_changes_nothing_but_its_own(opened):
    split = opened(True)
    expected = split.images.images.clone()
    split.images.images.zero_()
    assert torch.equal(opened(True).images.images, expected)


def test_a_file_that_changed_is_decoded_anew(opened, photographs):
    before = opened(True).take(EVERYTHING)
    if (photographs / "train").is_dir():
        Image.new("RGB", (48, 40), (255, 0, 0)).save(photographs / "train" / "a" / "00.jpg")
        after = opened(True).take(EVERYTHING)
        assert torch.equal(after[1:], before[1:])
        assert after[0, 0].min() > 240
    else:  # the other half of the rows comes first now
        first, second = sorted(photographs.iterdir())
        for path, name in ((first, "x"), (second, first.name), (photographs / "x", second.name)):
            path.rename(photographs / name)
        os.utime(photographs / first.name, (1, 1))
        assert torch.equal(opened(True).take(EVERYTHING), torch.cat([before[5:], before[:5]]))


def test_a_cache_that_cannot_be_written_is_done_without(opened, own_cache):
    plain = opened(False)
    own_cache.write_text("no folder")
    split = opened(True)
    assert torch.equal(split.images, plain.images)


def test_a_finished_cache_that_cannot_be_written_is_used(opened, own_cache, monkeypatch):
    fingerprint = opened(True).fingerprint
    (folder,) = [path.parent for path in own_cache.rglob("pixels.bin")]
    for path in folder.glob("fingerprint*"):
        path.unlink()
    with FileLock(folder / ".lock"):  # waiting would be for ever
        assert isinstance(opened(True).images, Kept)
    monkeypatch.setattr("ddkit.runtime.files.tempfile.mkstemp", _refused)
    assert opened(True).fingerprint == fingerprint
    assert not list(folder.glob("fingerprint*"))


def _refused(**arguments):
    raise PermissionError(13, "Permission denied")


def test_a_disk_that_is_nearly_full_is_left_alone(opened, own_cache, monkeypatch):
    monkeypatch.setattr(tiers, "free_disk", lambda folder: 4 * 12 * 3 * 16 * 16 - 1)
    assert isinstance(opened(True).images, torch.Tensor)
    assert not own_cache.exists()


@pytest.mark.parametrize("photographs", ["folders"], indirect=True)
def test_a_run_gives_the_same_artifact(photographs, tmp_path, monkeypatch):
    data = DataOptions(name=str(photographs), resize=16, holdout=0.25)
    config = RunConfig.model_validate(
        {"method": "random", "plugin": "random", "data": data, "ipc": 2, "device": "cpu"}
    )
    artifacts = []
    for least in (10**9, 1, 1):
        monkeypatch.setattr(tiers, "WORTH_KEEPING", least)
        folder = tmp_path / str(len(artifacts))
        artifacts.append(distill(config, folder).read_bytes())
    assert artifacts[0] == artifacts[1] == artifacts[2]

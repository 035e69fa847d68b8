"""Which tier is chosen, and that memory and mapped give the same bytes everywhere."""

from contextlib import contextmanager
from dataclasses import replace
from typing import get_args

import pytest
import torch

from ddkit.config import RunConfig
from ddkit.data.loading.resident import Augmentation, Resident
from ddkit.data.options import DataOptions
from ddkit.data.pixels import tiers
from ddkit.data.pixels.base import Mapped
from ddkit.data.pixels.encoded import Encoded
from ddkit.data.sources.load import load
from ddkit.data.sources.selection import split_holdout
from ddkit.data.space import InputSpace
from ddkit.pipeline.distill import distill
from ddkit.runtime import memory
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent


class Notes(Silent):
    def __init__(self):
        self.notes = []
        self.bars = []

    def note(self, text):
        if "has no test split" not in text:  # which is of the source
            self.notes.append(text)

    @contextmanager
    def task(self, name, total, done=0):
        self.bars.append((name, total, done))
        yield self


def free(monkeypatch, amount):
    monkeypatch.setattr(tiers, "free_memory", lambda: amount)


def opened(folder, resize):
    progress = Notes()
    return load(DataOptions(name=str(folder), resize=resize), "train", progress=progress), progress


def test_what_fits_stays_in_memory_and_nothing_is_said_or_written(
    photographs, monkeypatch, own_cache
):
    free(monkeypatch, 4 * 12 * 3 * 16 * 16)
    split, progress = opened(photographs, 16)
    assert isinstance(split.images, torch.Tensor)
    assert progress.notes == progress.bars == []
    assert not own_cache.exists()


def test_what_does_not_fit_is_mapped_and_said_in_one_line(photographs, monkeypatch):
    free(monkeypatch, 4 * 12 * 3 * 16 * 16 - 1)
    split, progress = opened(photographs, 16)
    assert isinstance(split.images, Mapped)
    (note,) = progress.notes
    assert "12 images, 0.0 GB decoded, in a mapped file of the cache" in note
    assert "photographs" in note
    assert [bar[1:] for bar in progress.bars] == [(12, 0)]
    assert opened(photographs, 16)[1].bars == []


def test_large_images_that_do_not_fit_are_decoded_when_they_are_used(photographs, monkeypatch):
    free(monkeypatch, 1000)
    split, progress = opened(photographs, 129)
    assert isinstance(split.images, Encoded)
    assert split.shape == (3, 129, 129)
    assert "decoded from their files when they are used" in progress.notes[0]


@pytest.mark.parametrize(("before", "kind"), [(1000, Encoded), (10**9, Mapped)])
def test_less_or_more_memory_never_changes_how_crops_of_large_images_look(
    photographs, monkeypatch, before, kind
):
    free(monkeypatch, before)
    opened(photographs, 129)
    free(monkeypatch, 10**9 + 1000 - before)
    assert isinstance(opened(photographs, 129)[0].images, kind)


def test_free_memory_is_what_the_machine_or_its_container_has(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    whole = memory.free_memory()
    assert 10**8 < whole < 10**14
    (tmp_path / "memory.stat").write_text("anon 4000\nfile 5000\n")
    (tmp_path / "memory.max").write_text("10000\n")
    assert memory.free_memory() == 6000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 6000


def test_a_tier_that_there_is_not_is_refused(photographs, in_tier):
    with pytest.raises(DdkitError, match="unknown DDKIT_TIER 'maped': did you mean 'mapped'"):
        in_tier("maped", photographs, resize=16)


@pytest.fixture
def both(photographs, in_tier):
    return in_tier("memory", photographs, resize=16), in_tier("mapped", photographs, resize=16)


def test_mapped_pixels_are_those_in_memory(both):
    memory, mapped = both
    assert torch.equal(mapped.take(torch.arange(12)), memory.images)
    assert torch.equal(mapped.labels, memory.labels)
    assert mapped.classes == memory.classes


def test_mapped_parts_have_the_fingerprints_of_parts_in_memory(both):
    memory, mapped = both
    assert mapped.fingerprint == memory.fingerprint
    parts, others = split_holdout(mapped, 0.5, 0), split_holdout(memory, 0.5, 0)
    for part, other in zip(parts, others, strict=True):
        assert isinstance(part.images, Mapped)
        assert torch.equal(part.take(torch.arange(len(part))), other.images)
        assert part.fingerprint == other.fingerprint
    again = mapped.subset(torch.tensor([5, 3, 8])).subset(torch.tensor([2, 0]))
    assert torch.equal(again.take(torch.tensor([1, 0])), memory.images[[5, 8]])


def test_labels_and_classes_count_in_a_mapped_fingerprint(both):
    found = []
    for split in both:
        others = replace(split, labels=split.labels.flip(0)), replace(split, classes=tuple("xyz"))
        found.append([split.fingerprint, *(other.fingerprint for other in others)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 3


def test_a_mapped_fingerprint_is_computed_once(both, photographs, in_tier, monkeypatch):
    expected = both[1].fingerprint
    monkeypatch.setattr(Mapped, "take", None)
    assert in_tier("mapped", photographs, resize=16).fingerprint == expected


@pytest.mark.parametrize("kind", ["standard", "zca", "unit"])
def test_the_input_space_is_the_same_in_both(both, kind):
    assert (
        InputSpace.fit(both[1], kind).fingerprint() == InputSpace.fit(both[0], kind).fingerprint()
    )


@pytest.mark.parametrize("augmentation", get_args(Augmentation))
def test_batches_are_the_same_in_both(both, augmentation):
    epochs = []
    for split in both:
        resident = Resident(split, InputSpace.fit(split, "standard"), "cpu")
        generator = torch.Generator().manual_seed(3)
        batches = resident.batches(5, generator, augmentation=augmentation)
        epochs.append([*batches, *resident.ordered(5), (resident.inputs(torch.tensor([2])),)])
        assert torch.equal(resident.images, both[0].images)
    assert not resident.resident_bytes
    for one, other in zip(*epochs, strict=True):
        assert all(map(torch.equal, one, other))


@pytest.mark.parametrize("photographs", ["folders"], indirect=True)
def test_a_run_gives_the_same_artifact_in_both(photographs, in_tier, tmp_path, monkeypatch):
    data = DataOptions(name=str(photographs), resize=16, holdout=0.25)
    config = RunConfig.model_validate(
        {"method": "random", "plugin": "random", "data": data, "ipc": 2, "device": "cpu"}
    )
    artifacts = []
    for tier in ("memory", "mapped"):
        monkeypatch.setenv("DDKIT_TIER", tier)
        artifacts.append(distill(config, tmp_path / tier).read_bytes())
    assert artifacts[0] == artifacts[1]

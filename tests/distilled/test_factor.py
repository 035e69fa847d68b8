"""A set whose stored images hold several: training images everywhere but in its file."""

import pytest
import torch

from ddkit.data.formation import parts_of, unpacked
from ddkit.distilled.dataset import load
from ddkit.distilled.merging import merge
from ddkit.distilled.subset import Wanted, subset
from ddkit.labels import HardLabels, SoftLabels
from ddkit.pipeline.beside import random_baseline
from ddkit.pipeline.distill import distill
from ddkit.pipeline.relabel import RelabelRequest, relabel
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent
from ddkit.runtime.tensors import write_tensors
from ddkit.synthesis.images import Synthetic

FACTOR = 2


def stored(ipc: int, seed: int = 0) -> Synthetic:
    drawn = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (3 * ipc, 1, 8, 8), generator=drawn) / 255
    return Synthetic(pixels, torch.arange(3).repeat_interleave(ipc), factor=FACTOR)


def soft(count: int) -> SoftLabels:
    return SoftLabels(torch.randn(count, 3, generator=torch.Generator().manual_seed(3)), 2.0)


@pytest.fixture
def several(artifact, data):
    """Write a set of factor 2; keywords are those of `artifact`."""

    def make(name: str = "set.safetensors", ipc: int = 2, seed: int = 0, labels=None, **said):
        images = stored(ipc, seed)
        labels = labels or HardLabels(images.decoded().classes)
        said = {"ipc": ipc, "factor": FACTOR, "train": data["train"], **said}
        return load(artifact(name, images=images, labels=labels, **said))

    return make


@pytest.mark.parametrize("part_bytes", [2**30, 600])
def test_items_are_training_images(several, part_bytes):
    found = several(part_bytes=part_bytes)
    training = unpacked(stored(2).images, FACTOR)
    assert len(found) == 24
    assert found.classes.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    rows = torch.tensor([23, 3, -1, 4])
    torch.testing.assert_close(found.pixels(rows), training[rows])
    image, label = found[9]
    torch.testing.assert_close(image, found.space.encode(training[9:10])[0])
    assert label == 1
    assert torch.equal(found.stored.pixels(torch.arange(6)), stored(2).images)
    assert found.image_bytes == stored(2).images.numel()
    assert "24 images of 1×8×8 in 6 stored ones" in repr(found)
    assert found.metadata["format_version"] == 3


def test_each_training_image_has_its_own_soft_label(several):
    labels = soft(24)
    found = several(labels=labels)
    rows = torch.tensor([5, 17])
    assert torch.equal(found.inputs(rows)[1], labels.logits[rows])


@pytest.mark.parametrize(
    ("changed", "words"),
    [(0, "must be 1 to 64"), (9, "its learned labels|do not match"), ("2", "'factor' in its meta")],
)
def test_a_factor_that_cannot_be_is_refused(several, tmp_path, changed, words):
    file = several(labels=soft(24)).file
    path = tmp_path / "changed.safetensors"
    write_tensors(path, file.read(), {**file.metadata, "factor": changed})
    with pytest.raises(DdkitError, match=words):
        load(path)


def test_subsets_keep_whole_stored_images(several, tmp_path):
    labels = soft(24)
    whole = several(labels=labels)
    cut = load(subset(whole.file.path, tmp_path / "cut.safetensors", Wanted(ipc=1)))
    assert (len(cut), cut.factor, cut.config["ipc"]) == (12, FACTOR, 1)
    kept = torch.tensor([0, 2, 4])
    assert torch.equal(cut.stored.pixels(torch.arange(3)), stored(2).images[kept])
    assert torch.equal(cut.labels.logits, labels.logits[parts_of(kept, FACTOR)])
    assert cut.classes.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_merged_sets_keep_images_and_labels_together(several, tmp_path):
    one, other = several("a.safetensors", 2, 0, soft(24)), several("b.safetensors", 1, 1, soft(12))
    merged = load(merge([one.file.path, other.file.path], tmp_path / "merged.safetensors"))
    assert (len(merged), merged.config["ipc"]) == (36, 3)
    places = parts_of(torch.tensor([2, 5, 8]), FACTOR)  # where the second file's images went
    torch.testing.assert_close(merged.pixels(places), other.pixels(torch.arange(12)))
    assert torch.equal(merged.labels.logits[places], other.labels.logits)


def test_sets_of_other_factors_are_not_merged(several, artifact, data, tmp_path):
    plain = artifact("plain.safetensors", ipc=2, train=data["train"])
    with pytest.raises(DdkitError, match="differ in the factor of multi-formation: 2 and 1"):
        merge([several().file.path, plain], tmp_path / "merged.safetensors")


def test_a_run_stores_and_labels_them_and_its_random_images_have_equal_bytes(run, data, tmp_path):
    """Random images of factor 2 are the first 4 · ipc random ones, and as many bytes."""
    work = run(train=data["train"], ipc=2, factor=FACTOR, threads=1)
    found = load(distill(work.config, tmp_path / "runs"))
    assert (len(found), len(found.stored), found.factor) == (24, 6, FACTOR)
    again = load(
        relabel(found.file.path, tmp_path / "again.safetensors", RelabelRequest(), Silent())
        or tmp_path / "again.safetensors"
    )
    assert torch.equal(again.classes, found.classes)
    beside = load(random_baseline(work, found.stored.classes))
    assert beside.image_bytes == found.image_bytes
    assert torch.equal(beside.pixels(torch.arange(24)), found.pixels(torch.arange(24)))
    uneven = load(random_baseline(work, torch.tensor([0, 1, 1, 2])))
    assert uneven.classes.bincount().tolist() == [4, 8, 4]
    assert torch.equal(
        uneven.stored.pixels(torch.tensor([0])), found.stored.pixels(torch.tensor([0]))
    )


def test_a_set_to_go_on_from_must_have_the_same_factor(run, several, data, tmp_path):
    path = str(several(ipc=1).file.path)
    work = run(train=data["train"], ipc=1, factor=FACTOR, init=path, threads=1)
    found = load(distill(work.config, tmp_path / "runs"))
    shown = found.stored.pixels(torch.arange(3))
    torch.testing.assert_close(shown, stored(1).images, atol=1 / 255, rtol=0)
    plain = run(train=data["train"], ipc=1, init=path, threads=1)
    with pytest.raises(DdkitError, match=r"has images of factor 2, but this run .*--factor 2"):
        distill(plain.config, tmp_path / "other")

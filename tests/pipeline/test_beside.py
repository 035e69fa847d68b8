"""What stands beside a set is like it: images of each class; rates from elsewhere are said."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddkit.distilled.dataset import load
from ddkit.labels import SoftLabels
from ddkit.pipeline import evaluate as comparison
from ddkit.pipeline.rows import Rows
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent
from ddkit.synthesis.images import Synthetic

NET, OTHER = "convnet:depth=1:width=4", "convnet:depth=1:width=5"
UNEVEN = torch.tensor([0, 1, 0, 2, 2, 0])  # 3 of a, 1 of b, 2 of c


@pytest.fixture
def compared(artifact, data):
    """Write a set of some classes and compare it; keywords are those of the artifact's run."""

    def compare(classes: Tensor, networks=(NET,), rate=None, labels=None, **config):
        pixels = torch.rand(len(classes), 1, 8, 8, generator=torch.Generator().manual_seed(0))
        images = Synthetic(pixels, classes, rate)
        config = {"network": NET, "ipc": int(classes.bincount().max()), **config}
        path = artifact(images=images, labels=labels, train=data["train"], **config)
        rows = comparison.compare(
            path,
            protocols=["dsa"],
            networks=networks,
            seeds=[0],
            progress=Silent(),
            recipe={"epochs": 1},
            real=False,
        )
        return Rows("set", rows)

    return compare


def baselines() -> list[Path]:
    return sorted(cache_folder("baselines").glob("*/distilled.safetensors"))


def belongs(baseline, data) -> list[int]:
    """Return the class in the data of each image of a baseline."""
    real = data["train"].take(torch.arange(len(data["train"])))
    images = baseline.file["images"]
    places = [int((real == image).flatten(1).all(1).nonzero()) for image in images]
    assert len(set(places)) == len(images)
    return data["train"].labels[places].tolist()


def test_random_images_are_as_many_of_each_class(compared, data):
    ours, random = compared(UNEVEN)
    assert (ours.title, random.title) == ("random", "random real images")
    assert random.image_bytes == 6 * 64
    (path,) = baselines()
    uneven = load(path)
    assert uneven.classes.tolist() == [0, 0, 0, 1, 2, 2]
    assert belongs(uneven, data) == [0, 0, 0, 1, 2, 2]
    before = path.stat().st_mtime_ns
    compared(UNEVEN)
    assert [each.stat().st_mtime_ns for each in baselines()] == [before]
    compared(torch.arange(3).repeat(3))  # ipc 3 of each: the first of them are the same
    (even,) = (load(each) for each in baselines() if each != path)
    assert torch.equal(even.file["images"][[0, 1, 2, 3, 6, 7]], uneven.file["images"])


def test_random_images_of_uneven_numbers_are_labelled_as_the_set(compared, method):
    def relabel(run, pool, images):
        return SoftLabels(images.images.float().flatten(1)[:, :3])

    plugin = method("labeller", relabel=relabel)
    stage = {"plugin": plugin, "options": {}}
    compared(UNEVEN, labels=SoftLabels(torch.zeros(6, 3)), relabel_from=stage)
    uneven = load(baselines()[0])
    assert torch.equal(uneven.labels.logits, uneven.file["images"].float().flatten(1)[:, :3])


def test_classes_need_no_more_real_images_than_the_set_has_of_them(compared, data):
    labels = data["train"].labels
    keep = ((labels != 1) | (torch.arange(len(labels)) < 3)).nonzero().flatten()  # one image of b
    data["train"] = replace(data["train"], images=data["train"].take(keep), labels=labels[keep])
    compared(UNEVEN)
    assert load(baselines()[0]).classes.tolist() == [0, 0, 0, 1, 2, 2]
    with pytest.raises(DdkitError, match=r"class 'b' has 1 training images.*or use --no-random"):
        compared(torch.tensor([0, 1, 1, 2]))


def test_a_rate_that_was_learned_for_another_network_is_said(compared):
    rows = compared(torch.arange(3), networks=(NET, OTHER), rate=0.0123)
    notes = [row.evaluation.note for row in rows]
    assert notes == ["", "", f"learned rate 0.0123 from {NET}", ""]  # random images tune theirs
    assert rows.cells()[2][2] == f"dsa, epochs 1, learned rate 0.0123 from {NET}"
    assert rows.cells()[0][2] == "dsa, epochs 1"
    assert rows.to_json()[2]["note"] == notes[2]
    assert compared(torch.arange(3), networks=(OTHER,))[0].evaluation.note == ""

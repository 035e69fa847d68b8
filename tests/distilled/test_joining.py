"""Sets of disjoint classes of the same data become one; what cannot be joined is refused."""

import pytest
import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.data.sources import selection
from ddkit.data.space import InputSpace
from ddkit.distilled.dataset import load
from ddkit.distilled.merging import merge
from ddkit.labels import SoftLabels
from ddkit.pipeline import evaluate as comparison
from ddkit.pipeline.beside import random_baseline
from ddkit.pipeline.relabel import RelabelRequest, relabel
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent
from ddkit.synthesis.images import Synthetic


@pytest.fixture
def part(artifact):
    """Write a set of some classes of the digits; its images are greys from `start` on."""

    def make(names: str, start: int = 0, ipc: int = 2, labels=None, holdout=0.0, **learned):
        classes = tuple(names)
        data = {"name": "digits", "classes": classes, "holdout": holdout}
        train = sources.load(DataOptions(**data), "train")
        train, _ = selection.split_holdout(train, holdout, 0)
        greys = torch.arange(start, start + len(classes) * ipc, dtype=torch.uint8)
        images = greys.view(-1, 1, 1, 1).repeat(1, 1, 8, 8)
        owners = torch.arange(len(classes)).repeat_interleave(ipc)
        images = Synthetic(images, owners, **learned)
        said = {"images": images, "labels": labels, "train": train, "data": data, "ipc": ipc}
        return artifact(f"{names}.safetensors", **said)

    return make


def refusal(paths, out) -> str:
    with pytest.raises(DdkitError) as caught:
        merge(paths, out)
    assert not out.exists()
    return str(caught.value).replace(f"{out.parent}/", "")


def test_all_classes_of_the_data_make_a_set_of_the_data(part, tmp_path):
    whole = sources.load(DataOptions(name="digits"), "train")
    merged = load(merge([part("56789", 100), part("01243")], tmp_path / "out.safetensors"))
    assert merged.class_names == list("0123456789")
    assert merged.classes.tolist() == [label for label in range(10) for _ in range(2)]
    greys = [0, 1, 2, 3, 4, 5, 8, 9, 6, 7, *range(100, 110)]  # 4 before 3 in the second part
    assert merged.file["images"][:, 0, 0, 0].tolist() == greys
    assert merged.metadata["data_fingerprint"] == whole.fingerprint
    assert merged.space.fingerprint() == InputSpace.fit(whole, "standard").fingerprint()
    assert merged.labels.targets(torch.arange(20), 0).tolist() == merged.classes.tolist()
    config = merged.config
    assert (config["ipc"], config["data"]["classes"]) == (2, None)
    parts = [each["data"]["classes"] for each in merged.metadata["merged"]]
    assert parts == [list("56789"), list("01243")]


def test_some_classes_of_the_data_make_a_set_of_these(part, tmp_path):
    paths = [part("78", 10, learning_rate=0.1), part("02", learning_rate=0.3), part("45", 20)]
    merged = load(merge(paths[:2], tmp_path / "out.safetensors"))
    chosen = DataOptions(name="digits", classes=tuple("0278"))
    assert merged.class_names == list("0278")
    assert merged.config["data"]["classes"] == list("0278")
    assert merged.metadata["data_fingerprint"] == sources.load(chosen, "train").fingerprint
    assert merged.learning_rate == pytest.approx(0.2)
    line = refusal(paths, tmp_path / "again.safetensors")
    assert "differ in having a learned rate: yes and no" in line


def test_a_joined_set_is_evaluated_beside_random_images_of_all_classes(part, tmp_path):
    merged = load(merge([part("78"), part("02", 10)], tmp_path / "out.safetensors"))
    config = comparison.config_of(merged, None, None)
    run, test = comparison.opened(merged, config, tmp_path, Silent())
    assert test.split.classes == run.classes == tuple("0278")
    beside = load(random_baseline(run, merged.classes))
    assert beside.classes.tolist() == merged.classes.tolist()


def test_soft_labels_are_not_joined_and_the_way_out_is_named(part, tmp_path):
    paths = [part("01"), part("23", 10, labels=SoftLabels(torch.zeros(4, 2)))]
    assert refusal(paths, tmp_path / "out.safetensors") == (
        "the soft labels of 23.safetensors do not cover the other sets' classes: `ddkit relabel "
        f"{paths[1]} --relabel-from random -o {tmp_path}/23-hard.safetensors` makes hard labels, "
        "and the merged set can be relabelled"
    ).replace(f"{tmp_path}/", "")


def test_hard_labels_as_the_way_out_says(part, tmp_path):
    soft = part("23", 10, labels=SoftLabels(torch.zeros(4, 2)))
    relabel(soft, tmp_path / "hard.safetensors", RelabelRequest("random"), Silent())
    merged = load(merge([part("01"), tmp_path / "hard.safetensors"], tmp_path / "out.safetensors"))
    assert merged.classes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_what_does_not_fit_is_refused(part, tmp_path):
    out = tmp_path / "out.safetensors"
    assert refusal([part("01"), part("23", 10, ipc=3)], out) == (
        "01.safetensors and 23.safetensors have 2 and 3 images per class: cut one with `ddkit "
        "subset --ipc`"
    )
    learned = part("23", 10, label_logits=torch.zeros(4, 2))
    assert "learned do not cover the other sets' classes" in refusal([part("01"), learned], out)
    assert "differ in the name of class 0" in refusal([part("01"), part("12", 10)], out)
    assert "would only be repeated" in refusal([part("01"), part("45")], out)
    drawn = [part("01", holdout=0.2), part("23", 10, holdout=0.2)]
    assert "23.safetensors was distilled from other images of its classes" in refusal(drawn, out)


def test_data_that_changed_are_refused(part, tmp_path, monkeypatch):
    paths = [part("01"), part("23", 10)]
    known = sources.load

    def darker(options, split, **said):
        found = known(options, split, **said)
        return type(found)(found.images // 2, found.labels, found.classes, found.mirror)

    monkeypatch.setattr(sources, "load", darker)
    assert "the data changed" in refusal(paths, tmp_path / "out.safetensors")

"""A set of regression targets is used as others are; a softmax of them is refused."""

import pytest
import torch
from torch.utils.data import DataLoader

import ddkit
from ddkit.distilled.merging import merge
from ddkit.distilled.subset import Wanted, subset
from ddkit.labels import RegressionTargets
from ddkit.labels.converting import in_form
from ddkit.pipeline.relabel import RelabelRequest, relabel
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.synthesis.images import Synthetic


def targeted(artifact, name="set.safetensors", ipc=2, seed=0):
    """Write a set of three classes, and return its path and its targets."""
    random = torch.Generator().manual_seed(seed)
    count = 3 * ipc
    values = torch.randn(count, 3, generator=random)
    images = Synthetic(
        torch.rand(count, 1, 8, 8, generator=random), torch.arange(3).repeat_interleave(ipc)
    )
    return artifact(name, images=images, labels=RegressionTargets(values), ipc=ipc), values


def test_items_have_their_targets_as_they_are(artifact):
    path, values = targeted(artifact)
    distilled = ddkit.load(path)
    assert torch.equal(next(iter(DataLoader(distilled, batch_size=6)))[1], values)
    assert torch.equal(distilled.inputs(torch.arange(6))[1], values)
    assert distilled.classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert "labels: targets" in repr(distilled)
    assert distilled.show().width > 0


def test_they_are_merged_and_cut_with_their_images(artifact, tmp_path):
    one, first = targeted(artifact, "one.safetensors", 1, seed=1)
    two, second = targeted(artifact, "two.safetensors", 2, seed=2)
    merged = ddkit.load(merge([one, two], tmp_path / "merged.safetensors"))
    expected = torch.stack([first[0], *second[:2], first[1], *second[2:4], first[2], *second[4:]])
    assert torch.equal(merged.labels.values, expected)
    cut = ddkit.load(subset(two, tmp_path / "cut.safetensors", Wanted(ipc=1)))
    assert torch.equal(cut.labels.values, second[::2])
    with pytest.raises(DdkitError, match="--labels hard"):
        subset(two, tmp_path / "few.safetensors", Wanted(classes=("a", "b")))


@pytest.mark.parametrize("form", ["fp16", "int8", "top-k:2"])
def test_they_have_no_other_form(artifact, tmp_path, form):
    path, values = targeted(artifact)
    with pytest.raises(DdkitError, match=f"no logits that can be stored as {form}"):
        in_form(RegressionTargets(values), form)
    with pytest.raises(DdkitError, match="has regression targets, which have only one form"):
        relabel(path, tmp_path / "new.safetensors", RelabelRequest(form=form), Silent())
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize("broken", [torch.zeros(5, 3), torch.zeros(6, 3).half(), torch.zeros(6)])
def test_targets_of_another_shape_are_refused(artifact, broken):
    path, _ = targeted(artifact)
    file = TensorFile(path)
    tensors = {name: tensor.clone() for name, tensor in file.read().items()}
    write_tensors(path, tensors | {"labels.targets": broken}, file.metadata)
    with pytest.raises(DdkitError, match="its regression targets do not match its images"):
        ddkit.load(path)

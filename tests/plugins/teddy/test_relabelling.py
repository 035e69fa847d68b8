"""Ensemble labels of augmented images, against plain loops that know nothing of ddkit's code."""

import pickle
from pathlib import Path

import pytest
import torch
from ddkit_teddy.relabelling import averaged_logits, label, labelling_members
from torch import nn
from torch.utils.data import DataLoader

from ddkit import DdkitError, EpochLabels, SoftLabels, Synthetic
from ddkit.distilled.dataset import load
from ddkit.distilled.writing import write_distilled
from ddkit.labels import DrawnViews
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import describe
from ddkit.pipeline.stages import Stage
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.files import read_json, write_json
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.synthesis.initial import initial_real


class Scale(nn.Module):
    """A network whose logits are simple sums, so that labels can be worked out by hand."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * torch.stack([x.sum((1, 2, 3)), x.amax((1, 2, 3))], dim=1)


def test_averages_of_hand_computed_outputs():
    images = torch.tensor([[[[1.0, 2.0]]]])  # sum 3, maximum 2
    logits = averaged_logits([Scale(1.0), Scale(3.0)], images, "logits")
    torch.testing.assert_close(logits, torch.tensor([[6.0, 4.0]]))
    first, second = (
        torch.softmax(torch.tensor([3.0, 2.0]), 0),
        torch.softmax(torch.tensor([9.0, 6.0]), 0),
    )
    mean = averaged_logits([Scale(1.0), Scale(3.0)], images, "probabilities")
    torch.testing.assert_close(mean.exp(), ((first + second) / 2).unsqueeze(0))


def slow_view(images, views, row, size):
    """Crop, resize bilinearly, flip, paste: one pixel at a time, no antialiasing."""

    def single(index):
        top, left, height, width = views.crop[index].double().tolist()
        result = torch.zeros(images.shape[1], size, size, dtype=torch.float64)
        for y in range(size):
            for x in range(size):
                column = size - 1 - x if views.flip[index] else x
                source_y = top * size + (y + 0.5) * height - 0.5
                source_x = left * size + (column + 0.5) * width - 0.5
                for dy in (0, 1):
                    for dx in (0, 1):
                        at_y, at_x = int(source_y // 1) + dy, int(source_x // 1) + dx
                        weight = (1 - abs(source_y - at_y)) * (1 - abs(source_x - at_x))
                        # a crop is a picture of its own: its edge is repeated, not its neighbour
                        at_y = min(max(at_y, round(top * size)), round((top + height) * size) - 1)
                        at_x = min(max(at_x, round(left * size)), round((left + width) * size) - 1)
                        result[:, y, x] += weight * images[index, :, at_y, at_x].double()
        return result

    picture, other = single(row), single(int(views.partner[row]))
    top, left, bottom, right = views.box[row].tolist()
    picture[:, top:bottom, left:right] = other[:, top:bottom, left:right]
    return picture


def labelled(teddy_run, *settings, ipc=1, **common):
    run = Stage(teddy_run(*settings, ipc=ipc, **common), "relabel").run
    pool = stage_pools.open_pool(run, "relabel")
    real = initial_real(run)
    images = Synthetic(real, torch.arange(run.total) // ipc)
    return run, pool, images, label(run, pool, images)


@pytest.mark.parametrize("mix", ["cutmix", "none"])
def test_epoch_labels_are_the_members_outputs_on_the_mixed_images(teddy_run, mix):
    run, pool, images, labels = labelled(
        teddy_run, f"mix={mix}", "average=logits", "crop_scale=0.6", "train_augmentation=none"
    )
    assert isinstance(labels, EpochLabels)
    assert labels.logits.shape == (2, 10, 10)
    for epoch in range(2):
        views = labels.views_of(epoch)
        if mix == "cutmix":
            assert (views.partner != torch.arange(10)).any()
            assert views.box.any()
        for row in (0, 3, 9):
            picture = slow_view(images.images, views, row, 8).float().unsqueeze(0)
            inputs = (picture - run.space.mean) / run.space.std
            outputs = [pool.network(index)(inputs) for index in range(len(pool))]
            expected = sum(outputs) / len(outputs)
            torch.testing.assert_close(
                labels.logits[epoch, row].float(), expected[0], rtol=2e-2, atol=2e-2
            )


def test_replayed_images_are_those_that_were_labelled(teddy_run):
    _, _, images, labels = labelled(teddy_run)
    rows = torch.tensor([7, 2, 2])
    seen = labels.view(images.images, rows, epoch=1)
    for image, row in zip(seen, rows, strict=True):
        slow = slow_view(images.images, labels.views_of(1), int(row), 8).float()
        torch.testing.assert_close(image, slow, rtol=1e-4, atol=1e-4)


def test_a_recipe_gives_the_logits_that_are_stored_otherwise(teddy_run):
    *_, stored = labelled(teddy_run, ipc=2, seed=5)
    *_, images, recipe = labelled(teddy_run, ipc=2, seed=5, labels_as="recipe")
    assert stored.views == recipe.views == DrawnViews(5, 20, (8, 8), (0.08, 1.0), False, "cutmix")
    assert recipe.bytes == 0
    assert recipe.epochs == stored.epochs == 2
    rows = torch.tensor([7, 0, 19, 4])
    for epoch in (0, 1, 2):
        seen, targets = recipe.batch(images.images, rows, epoch)
        expected, wanted = stored.batch(images.images, rows, epoch)
        assert torch.equal(seen, expected)
        assert targets.dtype == torch.float32
        torch.testing.assert_close(targets, wanted, rtol=2**-11, atol=1e-6)
        assert not torch.equal(targets, wanted)


def recipe_artifact(teddy_run, path: Path) -> Path:
    run, _, images, recipe = labelled(teddy_run, labels_as="recipe")
    write_distilled(path, images, recipe, run.space, describe(run))
    return path


def test_loaders_make_the_labels_of_a_recipe_in_their_workers(teddy_run, tmp_path):
    found = load(recipe_artifact(teddy_run, tmp_path / "set.safetensors"))
    found.epoch = 1
    inputs, targets = found.inputs(torch.arange(10))
    order = torch.tensor([8, 3, 0, 1, 2, 9, 5, 7, 6, 4])
    loader = DataLoader(found, 3, sampler=order.tolist(), num_workers=2)
    served = [torch.cat(parts) for parts in zip(*loader, strict=True)]
    assert torch.equal(served[0], inputs[order])
    torch.testing.assert_close(served[1], targets[order].softmax(1))


def test_the_pool_of_a_recipe_may_be_elsewhere(teddy_run, tmp_path):
    path = recipe_artifact(teddy_run, tmp_path / "set.safetensors")
    _, expected = load(path).inputs(torch.arange(10), 0)
    (pool,) = (tmp_path / "cache" / "pools").iterdir()
    moved = tmp_path / "moved"
    pool.rename(moved)
    with pytest.raises(DdkitError) as caught:
        load(path)[0]
    assert str(caught.value) == (
        f"the pool '{pool.name}', which makes these labels, is not in {pool.parent}: say where it "
        "is with ddkit.load(path, pool=FOLDER), or put it there"
    )
    for where in (moved, str(moved)):
        assert torch.equal(load(path, pool=where).inputs(torch.arange(10), 0)[1], expected)
    again = pickle.loads(pickle.dumps(load(path, pool=moved)))  # noqa: S301 - our own bytes
    assert torch.equal(again.inputs(torch.arange(10), 0)[1], expected)


def test_another_pool_is_not_taken_for_that_of_a_recipe(teddy_run, tmp_path):
    path = recipe_artifact(teddy_run, tmp_path / "set.safetensors")
    other = stage_pools.open_pool(teddy_run("last=3"), "relabel")
    with pytest.raises(DdkitError, match="is not the one that these labels were made with"):
        load(path, pool=other.folder)[0]


def test_a_recipe_runs_no_network_from_a_file_elsewhere(teddy_run, tmp_path):
    path = recipe_artifact(teddy_run, tmp_path / "set.safetensors")
    (pool,) = (tmp_path / "cache" / "pools").iterdir()
    moved = tmp_path / "moved"
    pool.rename(moved)
    about = read_json(moved / "pool.json") | {"network": "evil.py:make"}
    write_json(moved / "pool.json", about)
    file = TensorFile(path)
    labels = file.metadata["labels"]
    labels["ensemble"]["fingerprint"] = stable_hash(about)
    tensors = {name: tensor.clone() for name, tensor in file.read().items()}
    write_tensors(path, tensors, file.metadata | {"labels": labels})
    with pytest.raises(DdkitError, match="has a network from a file"):
        load(path, pool=moved)[0]


def test_digits_are_not_mirrored_in_views(teddy_run):
    *_, labels = labelled(teddy_run)
    assert not any(labels.views_of(epoch).flip.any() for epoch in range(2))


def test_one_label_per_image(teddy_run):
    run, pool, images, labels = labelled(teddy_run, "labels=image", "temperature=4")
    assert isinstance(labels, SoftLabels)
    assert labels.temperature == 4
    inputs = (images.images - run.space.mean) / run.space.std
    expected = sum(pool.network(index)(inputs) for index in range(len(pool))) / len(pool)
    torch.testing.assert_close(labels.logits.float(), expected, rtol=1e-2, atol=1e-2)


def test_k_members_are_spread_over_the_pool(teddy_run):
    run = teddy_run("last=9", "every=1")
    pool = stage_pools.open_pool(run, "synthesis")
    assert labelling_members(pool, 0) == list(range(9))
    assert labelling_members(pool, 3) == [0, 4, 8]
    assert labelling_members(pool, 20) == list(range(9))


def test_the_base_of_a_post_pool_does_not_label(teddy_run):
    run = teddy_run("pool=post", "members=2", "finetune_epochs=0", "prune_ratio=0.25")
    pool = stage_pools.open_pool(run, "synthesis")
    assert labelling_members(pool, 0) == [1, 2]

"""Ensemble labels of augmented images, against plain loops that know nothing of ddkit's code."""

import pytest
import torch
from ddkit_teddy.relabelling import average, label, labelling_members
from torch import nn

from ddkit import EpochLabels, SoftLabels, Synthetic, stage_pools


class Scale(nn.Module):
    """A network whose logits are simple sums, so that labels can be worked out by hand."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * torch.stack([x.sum((1, 2, 3)), x.amax((1, 2, 3))], dim=1)


def test_averages_of_hand_computed_outputs():
    images = torch.tensor([[[[1.0, 2.0]]]])  # sum 3, maximum 2
    logits = average([Scale(1.0), Scale(3.0)], images, "logits")
    torch.testing.assert_close(logits, torch.tensor([[6.0, 4.0]]))
    first, second = (
        torch.softmax(torch.tensor([3.0, 2.0]), 0),
        torch.softmax(torch.tensor([9.0, 6.0]), 0),
    )
    mean = average([Scale(1.0), Scale(3.0)], images, "probabilities")
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


def labelled(teddy_run, *settings, ipc=1):
    run = teddy_run(*settings, ipc=ipc).for_stage("relabel")
    pool = stage_pools.open_pool(run, "relabel")
    real = run.initial_real()
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


def test_digits_are_not_mirrored_in_views(teddy_run):
    *_, labels = labelled(teddy_run)
    assert not labels.views.flip.any()


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

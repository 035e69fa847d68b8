"""RDED: patches that networks recognise, put together, and labelled epoch by epoch."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from ddkit_selection.options import SelectionOptions
from torchvision.transforms import v2

from ddkit import patch_losses, shuffled
from ddkit.data.augmentation.augment import boxes_of, draw_tries
from ddkit.data.pixels.base import CropShape, InMemory
from ddkit.data.pixels.crops import random_crops
from ddkit.methods.plugin import lookup
from ddkit.pipeline.resolve import Request, resolve
from ddkit.synthesis.collage import collages
from ddkit.synthesis.patches import best_patches, framed

FEW = ("train_epochs=1", "train_batch=256", "label_epochs=2", "candidates=6", "crops=2")


class Brightness(torch.nn.Module):
    """Says of an image that it is of class 1 the more, the brighter it is."""

    def forward(self, inputs):
        return torch.stack([torch.zeros(len(inputs)), inputs.mean((1, 2, 3))], 1)


@pytest.fixture
def bright(run, make_split):
    """Return a function: a run on made-up images, and the losses of a network that likes light."""

    def make(each=8, side=8, **options):
        settings = SelectionOptions(rule="rded", **options)
        work = run(train=make_split(each=each, shape=(1, side, side)), options=settings, ipc=3)
        pool = SimpleNamespace(network=lambda member: Brightness())
        return work, patch_losses(pool, [0])

    return make


def test_a_collage_has_the_best_patches_in_its_first_cell():
    numbers = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 1, 2, 2)
    images = collages(numbers, 3, 2, (4, 4))
    assert images.shape == (3, 1, 4, 4)
    for number, image in enumerate(images):
        cells = image[0].unfold(0, 2, 2).unfold(1, 2, 2).reshape(4, 4)
        assert (cells == cells[:, :1]).all()
        assert cells[:, 0].tolist() == [number, number + 3, number + 6, number + 9]


def test_cells_that_do_not_divide_a_side_are_a_pixel_longer_at_first():
    patches = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3).expand(4, 1, 3, 3)
    image = collages(patches, 1, 2, (7, 7))[0, 0]
    # four pixels of three by nearest neighbours: the first stands twice
    rows = torch.tensor([0, 0, 1, 2, 0, 1, 2])
    assert torch.equal(image, patches[0, 0][rows][:, rows])


@pytest.mark.parametrize("side", [8, 9])
def test_patches_are_the_best_of_all_that_are_cut(bright, side):
    work, losses = bright(side=side, collage=2, candidates=8, crops=3)
    found = best_patches(work, 1, 8, losses)
    assert found.shape == (8, 1, side // 2, side // 2)
    rows = shuffled(work, 1)
    tries = draw_tries(24, work.generator("patches", 1))
    everything = []
    for number, row in enumerate(rows):
        crops = []
        for place in range(3 * number, 3 * number + 3):
            box = boxes_of(tries[:, place : place + 1], torch.tensor([[side, side]]), ratio=(1, 1))
            top, left, height, width = (box[0] * side).round().int().tolist()
            size = [side // 2, side // 2]
            image = work.train.images[row]
            crops.append(v2.functional.resized_crop(image, top, left, height, width, size))
        # the rest of the input is 0, so the brightest patch is the one with the largest sum
        everything.append(max(crops, key=lambda crop: crop.float().sum()))
    best = sorted(everything, key=lambda crop: -crop.float().sum())
    assert (found.int() - torch.stack(best).int()).abs().max() <= 1


def test_whole_images_without_a_choice_are_those_that_networks_know_best(bright):
    work, losses = bright(collage=1, candidates=8, crops=1, patch_scale=1.0)
    found = best_patches(work, 1, 3, losses)
    own = work.train.images[work.train.labels == 1]
    brightest = own.float().mean((1, 2, 3)).argsort(descending=True)[:3]
    assert torch.equal(found, own[brightest])


def test_where_images_are_few_the_second_patches_of_each_follow(bright):
    work, losses = bright(each=4, side=16, collage=2, crops=3)
    found = best_patches(work, 1, 12, losses)
    light = found.float().mean((1, 2, 3))
    assert len(found.flatten(1).unique(dim=0)) == 12
    for first in (0, 4, 8):  # the best of each image, the second, the third
        assert (light[first : first + 4].diff() <= 0).all()
    assert light[:4].sum() > light[4:8].sum() > light[8:].sum()


def test_a_patch_is_seen_in_the_middle_of_the_mean_colour(bright):
    work, _ = bright(side=7, collage=2)
    patches = torch.randint(256, (2, 1, 3, 3), dtype=torch.uint8)
    inputs = framed(work, patches)
    assert inputs.shape == (2, 1, 7, 7)
    assert torch.allclose(inputs[:, :, 2:5, 2:5], work.space.encode(patches.float() / 255))
    inputs[:, :, 2:5, 2:5] = 0
    assert inputs.abs().max() < 1e-6


@pytest.mark.parametrize("flip", [False, True])
def test_crops_of_images_in_memory_are_torchvisions_at_any_size(flip):
    images = torch.randint(256, (3, 3, 12, 20), dtype=torch.uint8)
    tries = draw_tries(3, torch.Generator().manual_seed(0))
    shape = CropShape((0.3, 0.6), (1.0, 1.0), (5, 4))
    rows, flips = torch.tensor([2, 0, 1]), torch.full((3,), flip)
    found = random_crops(InMemory(images), rows, tries, flips, shape=shape)
    sizes = torch.tensor([[12, 20]])
    boxes = boxes_of(tries, sizes, scale=shape.scale, ratio=shape.ratio) * sizes.repeat(1, 2)
    for row, crop, box in zip(rows, found, boxes.round().int().tolist(), strict=True):
        assert box[2] == box[3]
        image = images[row].flip(2) if flip else images[row]
        expected = F.interpolate(
            image[None, :, box[0] : box[0] + box[2], box[1] : box[1] + box[3]].double(),
            (5, 4),
            mode="bilinear",
            antialias=True,
        )[0]
        assert (crop - expected).abs().max() <= 1


def test_digits_hold_one_patch_each_and_labels_of_every_epoch(distilled):
    found = distilled("set", *FEW, method="rded", ipc=2)
    assert found.labels.kind == "epoch"
    assert found.labels.epochs == 2
    assert found.labels.views.scale == (1.0, 1.0)
    assert found.labels.temperature == 20


def test_a_method_of_optimisation_starts_from_patches(distilled, configured, tmp_path):
    start = distilled("set", *FEW, "labels=hard", method="rded", ipc=2)
    later = distilled(
        "later",
        "updates=1",
        "lr_images=1e-9",
        "batch_real=4",
        method="dm",
        ipc=2,
        init=str(tmp_path / "set" / "distilled.safetensors"),
    )
    rows = torch.arange(20)
    assert torch.allclose(later.pixels(rows), start.pixels(rows), atol=1e-5)


def test_the_rate_of_its_own_recipe_ends_at_a_half():
    options = resolve(Request("rded", preset="none")).options
    _, alias = lookup("rded")
    assert options["rule"] == "rded"
    name, changes = SelectionOptions(**alias.options).own_protocol
    assert (name, changes) == ("soft", {"schedule": "cosine:2"})


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["features=pixels"], "rule=rded needs networks, and features=pixels has none"),
        (["collage=9"], "images of 8×8 pixels cannot hold so many patches along a side: lower it"),
        (["crops=1", "collage=8"], "fewer than the 64 that it needs: lower --ipc or collage"),
    ],
)
def test_what_cannot_be_put_together_is_refused_in_a_line(refused, settings, line):
    flags = [part for setting in settings for part in ("--set", setting)]
    if "crops=1" in settings:
        flags += ["--classes", "3", "--ipc", "9"]
        line = "fewer than the 576 that it needs: lower --ipc or collage, or raise crops"
    assert line in refused(*flags, method="rded")


def test_a_budget_too_small_for_the_patches_is_refused(refused):
    line = refused("--memory-budget", "9kB", method="rded")
    assert "choosing from 1500 patches of a class needs" in line
    assert "lower teachers" in line


def test_collages_are_labelled_with_their_strips_shuffled(distilled):
    found = distilled("set", *FEW, "collage=2", method="rded", ipc=1)
    assert found.labels.views.strips == 2
    assert found.labels.views.scale == (0.5, 1.0)

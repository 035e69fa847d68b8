"""Scaled images to take, larger ones to cut random boxes out of: antialiased, as torchvision's."""

import pytest
import torch
from torchvision.transforms import v2

from ddkit.config import RunConfig
from ddkit.data.augmentation.augment import boxes_of, draw_flips, draw_tries
from ddkit.data.loading.resident import Resident
from ddkit.data.options import DataOptions
from ddkit.data.pixels import tiers
from ddkit.data.pixels.base import InMemory, Mapped
from ddkit.data.pixels.detailed import Detailed
from ddkit.data.sources.load import load
from ddkit.data.space import InputSpace
from ddkit.pipeline.distill import distill
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.errors import DdkitError

TIERS = pytest.mark.parametrize("tier", ["memory", "mapped"])
FOLDERS = pytest.mark.parametrize("photographs", ["folders"], indirect=True)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def averaged(image, size):
    """Return float64 `image` (channels, H, W) at `size`: each pixel a mean weighted by a triangle.

    Written for one output pixel after the other, and not in two passes, as libraries do.
    """
    channels, height, width = image.shape
    rows, columns = size
    found = torch.empty(channels, rows, columns, dtype=torch.float64)
    for y in range(rows):
        for x in range(columns):
            total, sums = 0.0, torch.zeros(channels, dtype=torch.float64)
            for i in range(height):
                for j in range(width):
                    weight = triangle(y, i, height / rows) * triangle(x, j, width / columns)
                    if weight:
                        total, sums = total + weight, sums + weight * image[:, i, j]
            found[:, y, x] = sums / total
    return found


def triangle(at, pixel, scale):
    distance = abs(pixel + 0.5 - (at + 0.5) * scale) / max(scale, 1.0)
    return max(0.0, 1 - distance)


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_the_antialiased_boxes_of_a_plain_loop(channels):
    details = torch.randint(256, (4, channels, 24, 24), generator=gen(), dtype=torch.uint8)
    pixels = Detailed(InMemory(details[..., :6, :6]), details)
    tries, flips = draw_tries(4, gen(1)), torch.tensor([True, False, True, False])
    found = pixels.crops(torch.arange(4), tries, flips)
    assert found.dtype == torch.uint8
    assert found.shape == (4, channels, 6, 6)
    boxes = (boxes_of(tries, torch.tensor([[24, 24]])) * 24).round().int().tolist()
    assert any(min(box[2:]) > 12 for box in boxes)  # so that there is something to average
    for image, crop, (top, left, height, width), flip in zip(
        details, found, boxes, flips, strict=True
    ):
        image = image.flip(2) if flip else image
        box = image[:, top : top + height, left : left + width].double()
        assert (averaged(box, (6, 6)) - crop).abs().max() <= 1


@TIERS
def test_crops_are_torchvisions(photographs, in_tier, tier):
    pixels = in_tier(tier, photographs, resize=16, detail=40).pixels
    whole = in_tier(tier, photographs, resize=40).take(torch.arange(12))
    tries, flips = draw_tries(12, gen()), torch.arange(12) % 3 == 0
    found = pixels.crops(torch.arange(12), tries, flips)
    boxes = (boxes_of(tries, torch.tensor([[40, 40]])) * 40).round().int().tolist()
    for image, crop, box, flip in zip(whole, found, boxes, flips, strict=True):
        image = image.flip(2) if flip else image
        expected = v2.functional.resized_crop(image, *box, [16, 16], antialias=True)
        assert (crop.int() - expected.int()).abs().max() <= 1


@TIERS
def test_what_is_taken_are_the_scaled_images(photographs, in_tier, tier):
    plain = in_tier(tier, photographs, resize=16)
    split = in_tier(tier, photographs, resize=16, detail=40)
    assert split.shape == (3, 16, 16)
    order = torch.tensor([3, 11, 0, 3])
    assert torch.equal(split.take(order), plain.take(order))
    assert torch.equal(torch.cat(list(split.pixels.chunks(5))), plain.take(torch.arange(12)))
    for kind in ("standard", "zca"):
        spaces = [InputSpace.fit(each, kind).fingerprint() for each in (split, plain)]
        assert spaces[0] == spaces[1]


@TIERS
def test_a_part_crops_its_own_images(photographs, in_tier, tier):
    whole = in_tier(tier, photographs, resize=16, detail=40)
    part = whole.subset(torch.tensor([7, 9, 4])).subset(torch.tensor([2, 0]))
    tries, flips = draw_tries(2, gen()), torch.tensor([True, False])
    chosen = torch.tensor([4, 7])
    assert torch.equal(part.take(torch.arange(2)), whole.take(chosen))
    assert torch.equal(
        part.pixels.crops(torch.tensor([0, 1]), tries, flips),
        whole.pixels.crops(chosen, tries, flips),
    )


@pytest.mark.parametrize("augmentation", ["none", "crop-flip", "rrc-flip"])
def test_batches_are_the_same_in_memory_and_mapped(photographs, in_tier, augmentation):
    epochs = []
    for tier in ("memory", "mapped"):
        split = in_tier(tier, photographs, resize=16, detail=40)
        data = Resident(split, InputSpace.fit(split, "unit"), "cpu")
        epochs.append(list(data.batches(5, gen(), augmentation=augmentation)))
    for one, other in zip(*epochs, strict=True):
        assert all(map(torch.equal, one, other))
    assert sum(len(labels) for _, labels in epochs[0]) == 12


@pytest.mark.parametrize("mirror", [True, False])
def test_boxes_are_those_of_the_other_tiers(tmp_path, in_tier, make_picture, mirror):
    (tmp_path / "data/train/a").mkdir(parents=True)
    for number in range(20):
        make_picture(number, 64, 64).save(tmp_path / f"data/train/a/{number:02d}.png")
    epochs = []
    for tier, detail in [("mapped", 64), ("encoded", None), ("memory", None)]:
        split = in_tier(tier, tmp_path / "data", flip=mirror, resize=32, detail=detail)
        data = Resident(split, InputSpace.fit(split, "unit"), "cpu")
        epochs.append(list(data.batches(8, gen(), augmentation="rrc-flip")))
    for (inputs, labels), *others in zip(*epochs, strict=True):
        # Boxes are of whole pixels, which are larger where images were scaled down in memory.
        for (same_boxes, same), most in zip(others, (0.001, 0.03), strict=True):
            assert torch.equal(labels, same)
            assert (inputs - same_boxes).abs().mean() < most
            assert (inputs - same_boxes.flip(3)).abs().mean() > 0.09


def test_batches_of_crops_are_drawn_as_augmentation_draws(photographs, in_tier):
    split = in_tier("mapped", photographs, resize=16, detail=40)
    space = InputSpace.fit(split, "standard")
    data, generator = Resident(split, space, "cpu"), gen(4)
    (inputs, labels), *_ = data.batches(12, gen(4), augmentation="rrc-flip")
    order = torch.randperm(12, generator=generator)
    flips, tries = draw_flips(12, generator), draw_tries(12, generator)
    assert torch.equal(labels, split.labels[order])
    assert torch.equal(inputs, space.encode_bytes(split.pixels.crops(order, tries, flips)))


def test_the_fingerprint_differs_with_the_detail_alone(photographs, in_tier):
    found = {}
    for detail in (None, 32, 40):
        splits = [in_tier(t, photographs, resize=16, detail=detail) for t in ("memory", "mapped")]
        parts = [split.subset(torch.tensor([2, 5])) for split in splits]
        for name, pair in {"whole": splits, "part": parts}.items():
            assert pair[0].fingerprint == pair[1].fingerprint
            found[name, detail] = pair[0].fingerprint
    assert len(set(found.values())) == 6
    assert in_tier("mapped", photographs, resize=32).fingerprint not in found.values()
    assert in_tier("mapped", photographs, resize=16).fingerprint == found["whole", None]


def test_a_fingerprint_of_mapped_details_is_computed_once(photographs, in_tier, monkeypatch):
    expected = in_tier("mapped", photographs, resize=16, detail=40).fingerprint
    monkeypatch.setattr(Detailed, "feed", None)
    assert in_tier("mapped", photographs, resize=16, detail=40).fingerprint == expected


@FOLDERS
@pytest.mark.parametrize(("room", "kind"), [(0, Mapped), (1, InMemory)])
def test_both_sizes_together_are_what_takes_memory(photographs, monkeypatch, room, kind):
    taken = 12 * 3 * (16 * 16 + 200 * 200)
    monkeypatch.setattr(tiers, "free_memory", lambda: (taken + room - 1) / tiers.SHARE)
    split = load(DataOptions(name=str(photographs), resize=16, detail=200), "train")
    assert isinstance(split.pixels.scaled, kind)


@FOLDERS
def test_a_test_split_is_never_cropped_and_needs_no_detail(photographs, in_tier):
    (photographs / "train").rename(photographs / "test")
    (photographs / "train").symlink_to(photographs / "test")
    options = DataOptions(name=str(photographs), resize=16, detail=40)
    assert isinstance(load(options, "train").pixels, Detailed)
    assert isinstance(load(options, "test").pixels, InMemory)


def test_built_in_sets_have_details_too():
    plain, split = (load(DataOptions(resize=4, detail=d), "train") for d in (None, 8))
    original = load(DataOptions(), "train")
    assert torch.equal(split.take(torch.arange(9)), plain.take(torch.arange(9)))
    assert torch.equal(split.pixels.details, original.images)
    assert split.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"detail": 64}, r"detail 64 needs a smaller resize.*--resize 64 --detail 128 \(got None"),
        ({"detail": 64, "resize": 64}, r"detail 64 needs a smaller resize.*\(got 64\)"),
        ({"detail": 5000, "resize": 64}, "'detail'.*less than or equal to 4096"),
    ],
)
def test_a_detail_that_is_none_is_refused_in_one_line(said, words):
    with pytest.raises(DdkitError, match=words) as error:
        resolve(Request("random", data={"name": "digits", **said}))
    assert "\n" not in str(error.value)


def test_details_of_whole_files_are_refused(photographs, in_tier):
    with pytest.raises(DdkitError, match=r"^DDKIT_TIER=encoded .*--detail.*leave one of them out$"):
        in_tier("encoded", photographs, resize=16, detail=40)


@FOLDERS
def test_a_run_gives_the_same_artifact_in_both_tiers(photographs, tmp_path, monkeypatch):
    data = DataOptions(name=str(photographs), resize=16, detail=40, holdout=0.25)
    config = RunConfig.model_validate(
        {"method": "random", "plugin": "random", "data": data, "ipc": 2, "device": "cpu"}
    )
    artifacts = []
    for tier in ("memory", "mapped"):
        monkeypatch.setenv("DDKIT_TIER", tier)
        artifacts.append(distill(config, tmp_path / tier).read_bytes())
    assert artifacts[0] == artifacts[1]
    assert "detail = 40" in (tmp_path / "memory/config.toml").read_text()

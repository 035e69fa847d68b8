"""Images that are decoded when they are taken: the same pixels, and crops of the full size."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from ddkit.data.augmentation.augment import draw_tries
from ddkit.data.loading.resident import Resident
from ddkit.data.pixels.base import Cached
from ddkit.data.pixels.crops import crop, pixel_boxes
from ddkit.data.pixels.nvjpeg import crops_on
from ddkit.data.pixels.picture import Picture, Reading
from ddkit.data.space import InputSpace
from ddkit.runtime.errors import DdkitError


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def opened(folder):
    return Picture((folder / "image").read_bytes(), "image")


def resident(split):
    return Resident(split, InputSpace.fit(split, "unit"), "cpu")


def test_what_is_taken_are_the_pixels_in_memory(photographs, in_tier):
    memory = in_tier("memory", photographs, resize=16)
    encoded = in_tier("encoded", photographs, resize=16)
    assert isinstance(encoded.images, Cached)
    order = torch.tensor([3, 11, 0, 3])
    assert torch.equal(encoded.take(order), memory.images[order])
    part = encoded.subset(torch.tensor([7, 9, 4])).subset(torch.tensor([1, 2]))
    assert torch.equal(part.take(torch.tensor([1])), memory.images[[4]])
    assert InputSpace.fit(encoded, "standard").fingerprint() == (
        InputSpace.fit(memory, "standard").fingerprint()
    )


@pytest.mark.parametrize("augmentation", ["none", "crop-flip"])
def test_batches_without_boxes_are_those_in_memory(photographs, in_tier, augmentation):
    splits = [in_tier(tier, photographs, resize=16) for tier in ("memory", "encoded")]
    epochs = [list(resident(s).batches(5, gen(), augmentation=augmentation)) for s in splits]
    for one, other in zip(*epochs, strict=True):
        assert all(map(torch.equal, one, other))


def test_grey_images_have_three_channels(tmp_path, in_tier):
    (tmp_path / "data/train/a").mkdir(parents=True)
    Image.new("L", (4, 4), 7).save(tmp_path / "data/train/a/1.png")
    images = in_tier("encoded", tmp_path / "data").take(torch.tensor([0]))
    assert images.shape == (1, 3, 4, 4)
    assert images.unique().tolist() == [7]


def test_random_boxes_follow_from_the_generator(photographs, in_tier):
    data = resident(in_tier("encoded", photographs, resize=16))
    first, again, other = (
        torch.cat([x for x, _ in data.batches(5, gen(seed), augmentation="rrc-flip")])
        for seed in (1, 1, 2)
    )
    assert first.shape == (12, 3, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("mirror", [True, False])
def test_boxes_of_square_images_are_those_of_the_resident_tier(
    tmp_path, in_tier, make_picture, mirror
):
    (tmp_path / "data/train/a").mkdir(parents=True)
    for number in range(20):
        make_picture(number, 32, 32).save(tmp_path / f"data/train/a/{number:02d}.png")
    splits = [in_tier(tier, tmp_path / "data", flip=mirror) for tier in ("memory", "encoded")]
    epochs = [list(resident(s).batches(8, gen(), augmentation="rrc-flip")) for s in splits]
    for (inputs, labels), (others, same) in zip(*epochs, strict=True):
        assert torch.equal(labels, same)
        assert (inputs - others).abs().mean() < 0.01
        assert (inputs - others.flip(3)).abs().mean() > 0.03


@pytest.mark.parametrize("box", [(2, 5, 90, 120), (60, 10, 40, 33), (0, 0, 160, 200)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_crop_is_torchvisions(tmp_path, make_picture, box, kind):
    make_picture(3, 200, 160).save(tmp_path / "image", kind, quality=95)
    whole = v2.functional.pil_to_tensor(Image.open(tmp_path / "image"))
    expected = v2.functional.resized_crop(whole, *box, [16, 16], antialias=True)
    found = crop(opened(tmp_path), box, (16, 16), Reading())
    found = torch.from_numpy(found.copy()).permute(2, 0, 1)
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= 4
    assert difference.float().mean() < 0.6


def test_a_small_box_of_a_jpeg_is_not_decoded_below_its_size(tmp_path, make_picture):
    make_picture(3, 200, 160).save(tmp_path / "image", "JPEG")
    sizes = []
    for box in [(0, 0, 160, 160), (0, 0, 160, 64), (0, 0, 64, 64), (0, 0, 63, 64), (0, 0, 20, 20)]:
        picture = opened(tmp_path)
        crop(picture, box, (32, 32), Reading())
        sizes.append(picture.image.size)
    assert sizes == [(50, 40), (100, 80), (100, 80), (200, 160), (200, 160)]


def test_the_box_of_a_mirrored_image_counts_from_the_right():
    tries, sizes = draw_tries(50, gen()), [(40, 60)] * 50
    plain = pixel_boxes(tries, sizes, torch.zeros(50, dtype=torch.bool))
    mirrored = pixel_boxes(tries, sizes, torch.ones(50, dtype=torch.bool))
    assert torch.equal(mirrored[:, [0, 2, 3]], plain[:, [0, 2, 3]])
    assert torch.equal(mirrored[:, 1], 60 - plain[:, 1] - plain[:, 3])
    assert (plain[:, 0] + plain[:, 2] <= 40).all()
    assert (plain[:, 1] + plain[:, 3] <= 60).all()


def test_torchvisions_decoder_gives_the_crops_of_the_threads(photographs, in_tier):
    encoded = in_tier("encoded", photographs, resize=16).pixels
    tries, flips = draw_tries(12, gen()), torch.arange(12) % 2 == 0
    files = [encoded.store.read(number) for number in range(12)]
    found = crops_on(torch.device("cpu"), files, (16, 16), tries, flips)
    expected = encoded.crops(torch.arange(12), tries, flips)
    assert (found.int() - expected.int()).abs().float().mean() < 2
    assert crops_on(torch.device("cpu"), [(b"GIF", "x")], (16, 16), tries, flips) is None
    assert crops_on(torch.device("cpu"), [(b"\xff\xd8", "x")], (16, 16), tries, flips) is None


@pytest.mark.parametrize("photographs", ["folders"], indirect=True)
def test_a_broken_image_is_named_when_it_is_used(photographs, in_tier):
    path = photographs / "train/b/06.jpg"
    path.write_bytes(path.read_bytes()[:1000])
    data = resident(in_tier("memory", photographs, resize=16, classes="a"))
    split = in_tier("encoded", photographs, resize=16)
    with pytest.raises(DdkitError, match=r"train/b/06.jpg is not a readable image"):
        split.take(torch.tensor([6]))
    data = Resident(split, data.space, "cpu")
    with pytest.raises(DdkitError, match=r"train/b/06.jpg is not a readable image"):
        list(data.batches(5, gen(), augmentation="rrc-flip"))


@pytest.mark.parametrize("photographs", ["folders"], indirect=True)
def test_a_broken_header_is_named_as_images_are_looked_at(photographs, in_tier):
    path = photographs / "train/b/06.jpg"
    path.write_bytes(path.read_bytes()[:5])
    with pytest.raises(DdkitError, match=r"train/b/06.jpg is not a readable image"):
        in_tier("encoded", photographs, resize=16)


def test_the_fingerprint_follows_the_content_of_the_files(photographs, in_tier, make_picture):
    whole = in_tier("encoded", photographs, resize=16)
    assert whole.fingerprint == in_tier("encoded", photographs, resize=16).fingerprint
    part = whole.subset(torch.tensor([0, 1]))
    assert part.fingerprint != whole.subset(torch.tensor([0, 2])).fingerprint
    if (photographs / "train").exists():
        make_picture(7).save(photographs / "train/a/00.jpg")
        assert whole.fingerprint != in_tier("encoded", photographs, resize=16).fingerprint

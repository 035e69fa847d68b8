"""Pictures of more than 8 bits a channel keep their range; what is see-through has a background."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from ddkit.data.options import DataOptions
from ddkit.data.pixels.deep import bits
from ddkit.data.pixels.picture import Picture, Reading
from ddkit.data.sources.load import load
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent
from ddkit.runtime.settings import validated


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def values(largest, channels=1, size=(6, 5)):
    """Return values that spread evenly from 0 to the largest, int (height, width[, channels])."""
    shape = (*size, channels) if channels > 1 else size
    return np.linspace(0, largest, int(np.prod(shape))).astype(np.int64).reshape(shape)


def png16(array, transparent=None):
    """Return a PNG file of 16 bits a channel: grey, grey with alpha, RGB or RGBA."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = array.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if array.ndim == 2 else array.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    clear = b"" if transparent is None else chunk(b"tRNS", np.array(transparent, ">u2").tobytes())
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + clear
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def saved(image, kind="PNG", **options):
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def folder(tree, train, test=()):
    """Write files of two classes in turn."""
    files = {f"train/{'ab'[n % 2]}/{n:03d}.png": file for n, file in enumerate(train)}
    files |= {f"test/{'ab'[n % 2]}/{n:03d}.png": file for n, file in enumerate(test)}
    return tree(files)


def opened(root, split="train", **options):
    progress = Notes()
    return load(DataOptions(name=str(root), **options), split, progress=progress), progress.notes


def plain(content, **reading):
    return np.asarray(Picture(content, "x").plain(Reading(**reading)))


@pytest.mark.parametrize(
    ("largest", "depth"),
    [(255, 8), (1023, 10), (1500, 12), (4095, 12), (16383, 14), (16384, 16), (65535, 16)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_as_many_bits_count_as_the_training_images_fill(tree, largest, depth, channels):
    images = [values(largest // 3, channels), values(largest, channels)]
    root = folder(tree, map(png16, images), [png16(images[0])] * 2)
    expected = [torch.from_numpy((each >> depth - 8).astype(np.uint8)) for each in images]
    split, notes = opened(root)
    for image, each in zip(split.images, expected, strict=True):
        assert torch.equal(
            image if channels == 3 else image[0], each.movedim(-1, 0) if channels == 3 else each
        )
    assert [f"use {depth}, of which" in note for note in notes] == [True] * (depth != 16)
    test, notes = opened(root, "test")  # as the training images say
    assert torch.equal(test.take(torch.tensor([0]))[0], split.take(torch.tensor([0]))[0])
    assert notes == []


@pytest.mark.parametrize("tier", ["memory", "mapped", "encoded"])
def test_the_range_is_kept_in_every_tier(tree, in_tier, tier):
    images = [values(4095), values(1000)]
    root = folder(tree, map(png16, images))
    found = in_tier(tier, root).take(torch.arange(2))
    assert torch.equal(found[:, 0], torch.from_numpy(np.stack(images) >> 4).byte())
    assert len(found[0].unique()) == 30
    other = in_tier(tier, root, bit_depth=16)
    assert torch.equal(
        other.take(torch.arange(2))[:, 0], torch.from_numpy(np.stack(images) >> 8).byte()
    )
    assert other.fingerprint != in_tier(tier, root).fingerprint


def test_a_value_beyond_the_depth_is_named_with_the_depth_that_holds_it(tree):
    root = folder(tree, [png16(values(4000))] * 2, [png16(values(5000))] * 2)
    opened(root)
    with pytest.raises(
        DdkitError,
        match=r"test/a/000.png holds the value 5000, beyond the bit depth 12: give --bit-depth 14",
    ):
        opened(root, "test")
    assert opened(root, "test", bit_depth=14)[0].images.max() == 5000 >> 6


def test_one_of_16_bits_among_others_counts_too(tree):
    flat = saved(Image.new("L", (5, 6), 9))
    for largest, depth in ((65535, 16), (4095, 12)):
        split = opened(folder(tree, [flat, png16(values(largest))]))[0]
        assert torch.equal(
            split.images[1, 0], torch.from_numpy(values(largest) >> depth - 8).byte()
        )
        assert split.images[0].unique().tolist() == [9]


def test_one_that_was_not_looked_at_is_used_whole_or_asked_about():
    assert np.array_equal(plain(png16(values(65535)), depth=None), values(65535) >> 8)
    message = "x has more than 8 bits .* uses 12: give --bit-depth 12 or 16"
    with pytest.raises(DdkitError, match=message):
        plain(png16(values(4095)), depth=None)


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "JPEG2000"])
def test_other_formats_of_16_bits_are_shifted_alike(kind):
    array = values(4095)
    image = Image.fromarray(array.astype(np.uint16))
    content = saved(image, kind, **({"irreversible": False} if kind == "JPEG2000" else {}))
    assert Picture(content, "x").largest() == 4095
    assert np.array_equal(plain(content, depth=12), array >> 4)


def test_integers_of_32_bits_have_a_depth_too_and_negative_ones_none():
    array = values(2**20).astype(np.int32)
    content = saved(Image.fromarray(array), "TIFF")
    assert np.array_equal(plain(content, depth=24), array >> 16)
    assert bits(2**20) == 24
    with pytest.raises(DdkitError, match=r"x has values below 0 \(-1\)"):
        plain(saved(Image.fromarray(array - 1), "TIFF"))


def test_floats_from_0_to_1_are_pixels_and_others_have_no_range():
    array = np.linspace(0, 1, 30, dtype=np.float32).reshape(6, 5)
    content = saved(Image.fromarray(array), "TIFF")
    assert np.array_equal(plain(content), np.floor(array * 255 + 0.5).astype(np.uint8))
    for wrong in (array * 2, array - 1, array * np.nan):
        with pytest.raises(DdkitError, match="x has floating-point pixels beyond 0 to 1"):
            plain(saved(Image.fromarray(wrong), "TIFF"))


def test_colours_whose_lower_bits_pillow_drops_are_refused_where_they_count():
    """Grey with alpha: pillow reads its upper bytes alone."""
    array = np.stack([values(4095), values(65535)[::-1]], 2)
    with pytest.raises(
        DdkitError, match="x has 12 bits per colour, of which pillow reads 4 in this"
    ):
        plain(png16(array), depth=12)
    whole = np.stack([values(65535), np.full((6, 5), 65535)], 2)
    assert np.array_equal(plain(png16(whole))[..., 0], values(65535) >> 8)


def composed(colours, alpha, background):
    """Return uint8 of colours (…, 3) over a background, rounded to the nearest."""
    share = alpha[..., None] / 255
    return np.floor(colours * share + np.array(background) * (1 - share) + 0.5).astype(np.uint8)


@pytest.mark.parametrize(
    ("said", "background"),
    [
        ({}, (255, 255, 255)),
        ({"background": "black"}, (0, 0, 0)),
        ({"background": "#0a64FF"}, (10, 100, 255)),
    ],
)
@pytest.mark.parametrize("tier", ["memory", "mapped", "encoded"])
def test_a_black_drawing_on_nothing_is_seen_on_its_background(
    tree, in_tier, said, background, tier
):
    alpha = np.linspace(0, 255, 30).astype(np.uint8).reshape(6, 5)
    drawing = np.zeros((6, 5, 4), np.uint8)
    drawing[..., 3] = alpha
    root = folder(tree, [saved(Image.fromarray(drawing))] * 2)
    found = in_tier(tier, root, **said).take(torch.arange(2))[0].permute(1, 2, 0).numpy()
    expected = composed(np.zeros((6, 5, 3)), alpha, background)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.array_equal(found[0, 0], background)


def see_through():
    """Return files of a red and a see-through half, 4x2, of each kind that there is."""
    rgba = Image.new("RGBA", (4, 2), (200, 0, 0, 255))
    rgba.paste((0, 0, 200, 0), (2, 0, 4, 2))
    colours = Image.new("RGB", (4, 2), (200, 0, 0))
    colours.paste((0, 0, 200), (2, 0, 4, 2))
    palette = colours.quantize(2)
    clear = palette.getpixel((3, 0))
    alpha = struct.pack("<HHI", 338, 3, 1)  # TIFF's entry of it: 1 is premultiplied, 2 is not
    return {
        "RGBA": saved(rgba),
        "WEBP": saved(rgba, "WEBP", lossless=True),
        "GIF": saved(palette, "GIF", transparency=clear),
        "palette": saved(palette, transparency=bytes([*[255, 255][:clear], 0])),
        "RGB with one value": saved(colours, transparency=(0, 0, 200)),
        "TIFF": saved(rgba, "TIFF"),
        "premultiplied": saved(rgba, "TIFF").replace(alpha + b"\2", alpha + b"\1"),
        "16 bits": png16(
            np.array([[[200 << 8, 0, 0]] * 2 + [[0, 0, 200 << 8]] * 2] * 2), (0, 0, 200 << 8)
        ),
    }


@pytest.mark.parametrize("kind", see_through())
def test_every_kind_of_transparency_shows_the_background(kind):
    found = plain(see_through()[kind], background=(1, 2, 3))
    assert found[:, :2].reshape(-1, 3).tolist() == [[200, 0, 0]] * 4
    assert found[:, 2:].reshape(-1, 3).tolist() == [[1, 2, 3]] * 4


@pytest.mark.parametrize(("background", "shape"), [((255,) * 3, (2, 4)), ((9, 8, 7), (2, 4, 3))])
def test_grey_with_a_see_through_value_stays_grey_on_grey(background, shape):
    grey = Image.new("L", (4, 2), 7)
    grey.putpixel((0, 0), 50)
    found = plain(saved(grey, transparency=50), background=background)
    assert found.shape == shape
    assert found[0, 0].tolist() == (255 if len(shape) == 2 else [9, 8, 7])
    deep = np.full((2, 4), 4000)
    deep[0, 0] = 100
    assert plain(png16(deep, 100), depth=12)[0].tolist() == [255] + [250] * 3


def test_opaque_pictures_keep_their_bytes_and_fingerprints(tree, in_tier, make_picture):
    image = make_picture(1)
    opaque = image.copy()
    opaque.putalpha(255)
    root = folder(tree, [saved(opaque), saved(image)])
    for tier in ("memory", "encoded"):
        split = in_tier(tier, root)
        assert torch.equal(*split.take(torch.arange(2)))
        assert split.fingerprint == in_tier(tier, root, background="black").fingerprint


def test_the_background_counts_in_fingerprints_where_it_is_seen(tree, in_tier):
    root = folder(tree, [see_through()["RGBA"]] * 2)
    for tier in ("memory", "mapped", "encoded"):
        found = {in_tier(tier, root, background=b).fingerprint for b in (None, "white", "black")}
        assert len(found) == 2


def test_what_is_not_said_leaves_configurations_as_they_were():
    assert not {"background", "bit_depth"} & DataOptions().model_dump(mode="json").keys()
    said = DataOptions(background="White", bit_depth=12).model_dump(mode="json")
    assert (said["background"], said["bit_depth"]) == ("#ffffff", 12)
    assert DataOptions(**said) == DataOptions(background="white", bit_depth=12)


@pytest.mark.parametrize("wrong", ["green", "#12", "#gggggg", ""])
def test_a_background_that_is_none_is_refused(wrong):
    with pytest.raises(DdkitError, match="the background is white, black or a colour such as"):
        validated(DataOptions, {"background": wrong}, "the data set")

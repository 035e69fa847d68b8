"""Every format and mode that pillow reads gives an image: of several frames the first one."""

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from ddkit.data.pixels.crops import crop
from ddkit.data.pixels.decoding import decode, scaled
from ddkit.data.pixels.picture import Picture, Reading
from ddkit.runtime.errors import DdkitError

COLOURS = [(200, 30, 40), (20, 180, 60), (10, 40, 190), (128, 128, 128)]


def saved(image, kind, **options):
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def patches(colours=COLOURS, side=16):
    """Return an image of squares in a row, so that lossy formats keep the colours within."""
    image = Image.new("RGB", (side * len(colours), side))
    for number, colour in enumerate(colours):
        image.paste(colour, (number * side, 0, (number + 1) * side, side))
    return image


def middles(content, side=16, **reading):
    """Return the colours in the middle of the squares."""
    pixels = np.asarray(Picture(content, "x").plain(Reading(**reading)))
    return pixels[side // 2, side // 2 :: side].tolist()


def close(found, expected, levels):
    return np.abs(np.array(found) - np.array(expected)).max() <= levels


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", *["AVIF"] * features.check("avif")])
def test_of_several_frames_the_first_is_read(kind):
    frames = [patches(), patches(COLOURS[::-1])]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    with Image.open(BytesIO(content)) as image:
        assert image.n_frames == 2
    assert close(middles(content), COLOURS, 12)


@pytest.mark.parametrize(
    "kind",
    ["JPEG", "JPEG2000", "TGA", "PCX", "ICO", "DDS", "QOI", "SGI", "BMP", "DIB", "PPM", "IM"],
)
def test_other_formats_are_read_by_their_content(kind):
    options = {"sizes": [(64, 16)]} if kind == "ICO" else {"quality": 95} if kind == "JPEG" else {}
    assert close(middles(saved(patches(), kind, **options)), COLOURS, 8)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_inks_are_converted(kind):
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 0)), Image.new("CMYK", (16, 16), (0, 0, 0, 204))
    found = [middles(saved(image, kind))[0] for image in inks]
    assert close(found, [[0, 255, 255], [51, 51, 51]], 3)


def test_brightness_and_colour_differences_are_converted():
    """By the formula of JPEG (ITU-R BT.601): R = Y + 1.402 (Cr - 128), …"""
    y, cb, cr = 120, 90, 160
    expected = [
        y + 1.402 * (cr - 128),
        y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128),
        y + 1.772 * (cb - 128),
    ]
    found = middles(saved(Image.new("YCbCr", (16, 16), (y, cb, cr)), "TIFF"))
    assert close(found, [expected], 1)


def test_lab_is_converted():
    """L* 50 with no colour is grey of 119 (CIE: Y = 0.184, then the curve of sRGB)."""
    found = middles(saved(Image.new("LAB", (16, 16), (128, 128, 128)), "TIFF"))
    assert close(found, [[119, 119, 119]], 3)


def test_palettes_and_single_bits_are_converted():
    palette = patches().quantize(4)
    assert middles(saved(palette, "PNG")) == [list(colour) for colour in COLOURS]
    assert middles(saved(palette, "PNG", bits=2)) == [list(colour) for colour in COLOURS]
    assert middles(saved(Image.new("1", (16, 16), 1), "TIFF")) == [255]


@pytest.fixture
def at_most(monkeypatch):
    """Have pillow decode few pixels, so that a picture beyond its limit is a small file."""

    def limit(pixels):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2)

    return limit


def read(content, side=None):
    return decode([(content, "big.jpg")], 1, Reading(side))[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_beyond_the_limit_is_read_smaller(at_most, make_picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(make_picture(1, 320, 240), "JPEG", quality=95, exif=exif)
    whole = read(content, 24)
    at_most(320 * 240 // 16)
    assert np.abs(read(content, 24).astype(int) - whole).mean() < 3
    assert Picture(content, "x").size == ((240, 320) if orientation == 1 else (320, 240))
    box = crop(Picture(content, "x"), (0, 0, 240, 240), (24, 24), Reading())
    assert box.shape == (24, 24, 3)


@pytest.mark.parametrize("side", [None, 200])
def test_one_that_stays_beyond_it_is_named_with_the_way_on(at_most, make_picture, side):
    content = saved(make_picture(1, 320, 240), "JPEG")
    at_most(1000)
    with pytest.raises(DdkitError, match=r"big.jpg has 320x240 pixels, too many .* --resize"):
        read(content, side)


def test_another_format_beyond_it_is_named(at_most, make_picture):
    content = saved(make_picture(1, 320, 240), "PNG")
    at_most(1000)
    with pytest.raises(
        DdkitError, match=r"big.jpg has too many pixels to decode .*: scale it down"
    ):
        read(content, 24)


def test_large_pictures_within_it_are_read_without_a_warning(tmp_path, make_picture):
    make_picture(1, 320, 240).save(tmp_path / "large.png")
    code = (
        "from PIL import Image; from ddkit.data.pixels.picture import Picture;"
        "Image.MAX_IMAGE_PIXELS = 320 * 240 - 10;"
        f"Picture(open({str(tmp_path / 'large.png')!r}, 'rb').read(), 'x')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("size", [(30, 17), (17, 30), (9, 9)])
def test_the_scaled_size_keeps_the_shorter_side(size):
    assert min(scaled(size, 12)) == 12


def test_what_pillow_does_not_know_is_said_in_words():
    for content, words in [
        (b"", "the file is empty"),
        (b"hello", "not in a format that pillow knows"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, which pillow does not read: save it as JPEG"),
    ]:
        with pytest.raises(DdkitError) as caught:
            Picture(content, "x.jpg")
        assert str(caught.value) == f"x.jpg is not a readable image ({words})"


def test_no_program_is_run_to_read_a_picture():
    with pytest.raises(DdkitError, match=r"x is a program \(EPS\), which is not run"):
        Picture(saved(patches(), "EPS"), "x")


def test_a_photograph_after_one_of_several_pictures_is_read(make_picture):
    """Phones write JPEG files of two pictures (MPO), which pillow opens as another format."""
    images = [make_picture(k, 48, 24) for k in range(3)]
    several = saved(images[0], "MPO", save_all=True, append_images=images[1:])
    files = [(several, "1"), (several, "2"), (saved(images[0], "JPEG"), "3"), (several, "4")]
    assert decode(files, 4).shape == (4, 3, 24, 48)

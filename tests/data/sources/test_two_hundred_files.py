"""Whatever lies in a folder or a table: an image, or one line that names it."""

import os
import random
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ddkit.data.augmentation.augment import draw_tries
from ddkit.data.options import DataOptions
from ddkit.data.pixels.crops import crops_of
from ddkit.data.pixels.picture import Picture, Reading
from ddkit.data.sources.load import load
from ddkit.runtime.errors import DdkitError

MODES = (
    *(
        "1",
        "L",
        "P",
        "RGB",
        "RGBA",
        "RGBX",
        "RGBa",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
        "LA",
        "La",
        "PA",
    ),
    *("I", "F", "I;16", "I;16L", "I;16B"),
)
UNREADABLE = {  # what pillow writes and cannot read, or not without another program
    *("EPS", "PALM", "PDF", "BUFR", "GRIB", "HDF5", "WMF"),
}
SIZE = (16, 12)


def written():
    """Return {"TIFF RGB": content, …}: all modes in all formats that pillow can write."""
    Image.init()
    files = {}
    for kind in sorted(Image.SAVE):
        for mode in ("P", "RGB") if kind == "ICNS" else MODES:  # that one blows up to 1024 px
            stream = BytesIO()
            try:
                image = Image.radial_gradient("L").resize(SIZE).convert("RGB")
                image = Image.new(mode, SIZE, 1) if mode[0] in "IF" else image.convert(mode)
                image.save(stream, kind)
            except Exception:  # noqa: S112 - then pillow cannot write it
                continue
            files[f"{kind} {mode}"] = stream.getvalue()
    return files


def spoilt(files):
    """Return files that are cut, or have bytes that they should not have."""
    draw, found = random.Random(0), {}
    for kind in ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"):
        content = files.get(f"{kind} RGB")
        if content is None:
            continue
        for share in (0.05, 0.3, 0.6, 0.95):
            found[f"{kind} cut at {share}"] = content[: int(len(content) * share)]
        for number in range(4):
            other = bytearray(content)
            for _ in range(4):
                other[draw.randrange(len(other))] = draw.randrange(256)
            found[f"{kind} changed {number}"] = bytes(other)
    return found | {"empty": b"", "text": b"this is no picture\n", "zeros": bytes(500)}


@pytest.fixture(scope="module")
def files():
    """Whole files, and spoilt ones."""
    whole = written()
    return whole, spoilt(whole)


def opened(**options):
    """Return (channels, height, width) of the one image, or the line that says what is wrong."""
    try:
        split = load(DataOptions(**options), "train")
        assert len(split) == 1
        return split.shape
    except DdkitError as error:
        return str(error)


def in_folders(root, contents):
    """Write each file, which bears a wrong ending; return how each is opened, and its place."""
    found = []
    for number, content in enumerate(contents):
        path = root / f"{number}/train/a/picture.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        found.append(({"name": str(root / str(number))}, str(path)))
    return found


def in_table(root, contents):
    """Write a class for each file, its content or a path; return how each is opened, its place."""
    cells = [{"bytes" if isinstance(c, bytes) else "path": c} for c in contents]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    labels = [f"n{number:03d}" for number in range(len(cells))]
    table = pa.table({"image": pa.array(cells, kind), "label": labels})
    pq.write_table(table, root / "train.parquet")
    options = [{"name": str(root), "classes": (label,)} for label in labels]
    return [(each, f"row {row} of") for row, each in enumerate(options)]


def test_there_are_two_hundred_odd(files):
    assert sum(map(len, files)) > 200


@pytest.mark.parametrize("put", [in_folders, in_table])
@pytest.mark.filterwarnings("ignore")
def test_a_file_is_an_image_or_one_line_names_it(files, tmp_path, put):
    whole, spoilt = files
    stored = put(tmp_path, (whole | spoilt).values())
    for name, (options, place) in zip(whole | spoilt, stored, strict=True):
        found = opened(**options)
        kind = name.split()[0]
        if isinstance(found, tuple):
            assert found[0] in (1, 3), name
            assert found[1:] == SIZE[::-1] or name not in whole or kind in ("ICNS", "ICO"), name
            continue
        assert "\n" not in found, name
        assert "object at" not in found, name
        assert found.startswith(place), (name, found)
        refused = kind in UNREADABLE or name in spoilt or name == "ICNS P"  # pillow's own failure
        assert refused or "floating-point pixels" in found, (name, found)


@pytest.mark.filterwarnings("ignore")
def test_crops_and_fingerprints_of_whole_files_fail_as_their_images_do(files):
    tries, flips = draw_tries(1, torch.Generator().manual_seed(0)), torch.zeros(1).bool()
    for name, content in (files[0] | files[1]).items():
        outcomes = []
        for read in (
            lambda file: Picture(*file).plain(Reading()),
            lambda file: crops_of([file], (8, 8), tries, flips),
            lambda file: Picture(*file).follows_from(Reading()),
        ):
            try:
                read((content, name))
                outcomes.append("")
            except DdkitError as error:
                outcomes.append(str(error))
        assert all(line.startswith(name) for line in filter(None, outcomes)), outcomes
        assert bool(outcomes[0]) == bool(outcomes[1]), outcomes


def test_what_is_no_file_is_named_too(files, tmp_path):
    """Broken links, folders that are named as pictures, files of another user."""
    link, folder, closed = (tmp_path / name for name in ("link.jpg", "folder.jpg", "closed.jpg"))
    link.symlink_to(tmp_path / "gone")
    folder.mkdir()
    closed.write_bytes(files[0]["PNG RGB"])
    closed.chmod(0)
    places = [link, folder, *[closed] * (os.geteuid() != 0)]
    for place, (options, row) in zip(places, in_table(tmp_path, map(str, places)), strict=True):
        found = opened(**options)
        assert found.startswith(row), found
        assert place.name in found
        inside = tmp_path / place.stem / "train/a"
        inside.mkdir(parents=True)
        place.rename(inside / place.name)
        found = opened(name=str(tmp_path / place.stem))
        assert str(inside) in found
        assert "\n" not in found

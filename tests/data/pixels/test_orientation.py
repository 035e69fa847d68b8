"""Pictures that EXIF turns stand upright, wherever their pixels are taken from."""

import hashlib
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, features

from ddkit.data.augmentation.augment import draw_tries
from ddkit.data.pixels import picture, tiers
from ddkit.data.pixels.crops import crops_of
from ddkit.data.pixels.nvjpeg import crops_on, upright
from ddkit.data.pixels.picture import Picture, Reading
from ddkit.distilled.interop.pictures import check_picture, read_pictures

ORIENTATIONS = range(1, 9)
UPRIGHT = {  # what EXIF says of the rows and columns that are stored
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def stored(image, orientation, kind="PNG", **options):
    """Return the file of an image that says it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = BytesIO()
    image.save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def turned(image, orientation):
    return torch.from_numpy(UPRIGHT[orientation](np.asarray(image)).copy()).permute(2, 0, 1)


@pytest.fixture(params=["folder", "table"])
def turned_files(request, tmp_path, make_picture):
    """Eight pictures of 32x32, one for each orientation, and what they are upright."""
    images = [make_picture(k, 32, 32) for k in ORIENTATIONS]
    files = [stored(image, k) for image, k in zip(images, ORIENTATIONS, strict=True)]
    root = tmp_path / "data"
    (root / "train/a").mkdir(parents=True)
    if request.param == "folder":
        for number, file in enumerate(files):
            (root / f"train/a/{number}.png").write_bytes(file)
    else:
        cells = [{"bytes": file, "path": None} for file in files]
        pq.write_table(pa.table({"image": cells, "label": [0] * 8}), root / "train.parquet")
    return root, torch.stack([turned(*each) for each in zip(images, ORIENTATIONS, strict=True)])


@pytest.mark.parametrize("tier", ["memory", "kept", "mapped", "encoded"])
def test_all_eight_stand_upright_in_every_tier(turned_files, in_tier, monkeypatch, tier):
    folder, expected = turned_files
    monkeypatch.setattr(tiers, "WORTH_KEEPING", 1 if tier == "kept" else 2**22)
    split = in_tier("memory" if tier == "kept" else tier, folder)
    assert torch.equal(split.take(torch.arange(8)), expected)


@pytest.mark.parametrize("tier", ["memory", "mapped", "encoded"])
def test_crops_are_cut_out_of_upright_pictures(turned_files, in_tier, tier):
    folder, expected = turned_files
    detail = {} if tier == "encoded" else {"detail": 32}
    split = in_tier(tier, folder, resize=16, **detail)
    tries = draw_tries(8, torch.Generator().manual_seed(0))
    plain = torch.zeros(8, dtype=torch.bool)
    found = split.images.crops(torch.arange(8), tries, plain)
    files = []
    for image in expected:
        stream = BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "PNG")
        files.append((stream.getvalue(), "upright"))
    difference = found.int() - crops_of(files, (16, 16), tries, plain).int()
    assert difference.abs().float().mean() < 1.5
    assert tier != "encoded" or not difference.any()


@pytest.mark.parametrize(
    "kind", ["JPEG", "WEBP", "TIFF", "MPO", *["AVIF"] * features.check("avif")]
)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_sizes_from_headers_and_pixels_are_upright_in_every_format(kind, orientation, make_picture):
    image = make_picture(1, 48, 24)
    more = {"save_all": True, "append_images": [make_picture(2, 48, 24)]} if kind == "MPO" else {}
    opened = Picture(stored(image, orientation, kind, **more), "x")
    size = (24, 48) if orientation < 5 else (48, 24)
    assert opened.size == size
    pixels = np.asarray(opened.plain(Reading()))
    expected = UPRIGHT[orientation](np.asarray(image)).astype(int)
    assert pixels.shape == (*size, 3)
    assert np.abs(pixels - expected).mean() < 4


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_crops_of_drafts_and_of_the_other_decoder_are_upright(orientation, make_picture):
    image = make_picture(3, 200, 160)
    lying = [(stored(image, orientation, "JPEG", quality=95), "x")]
    straight = BytesIO()
    Image.fromarray(turned(image, orientation).permute(1, 2, 0).numpy()).save(
        straight, "JPEG", quality=95
    )
    tries = draw_tries(1, torch.Generator().manual_seed(1))
    flips = torch.ones(1, dtype=torch.bool)
    expected = crops_of([(straight.getvalue(), "x")], (16, 16), tries, flips).int()
    assert (crops_of(lying, (16, 16), tries, flips).int() - expected).abs().float().mean() < 1.5
    found = crops_on(torch.device("cpu"), lying, (16, 16), tries, flips)
    assert (found.int() - expected).abs().float().mean() < 2
    pixels = torch.arange(24).view(1, 4, 6).repeat(3, 1, 1)
    as_picture = torch.from_numpy(UPRIGHT[orientation](pixels.permute(1, 2, 0).numpy()).copy())
    assert torch.equal(upright(pixels, orientation), as_picture.permute(2, 0, 1))


def test_pictures_of_other_tools_are_measured_upright(make_picture):
    files = [(stored(make_picture(k, 48, 24), k), "x") for k in (6, 8)]
    files.append((stored(make_picture(1, 24, 48), 1), "x"))
    assert check_picture(files[0], None) == (24, 48)
    assert read_pictures(files).shape == (3, 3, 48, 24)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 20, b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40, b"MM\0*\0\0\0\x08\0\x01\x01\x12"],
    ids=["empty", "zeros", "beyond the end", "cut"],
)
def test_a_damaged_block_beside_whole_pixels_turns_nothing(make_picture, content):
    image, stream = make_picture(1, 48, 24), BytesIO()
    image.save(stream, "PNG", exif=b"Exif\0\0" + content)
    pixels = np.asarray(Picture(stream.getvalue(), "x").plain(Reading()))
    assert np.array_equal(pixels, np.asarray(image))


def test_an_orientation_that_is_none_turns_nothing(make_picture):
    for orientation in (0, 9, 700):
        assert Picture(stored(make_picture(1), orientation), "x").orientation == 1


def test_only_fingerprints_of_turned_files_differ_from_those_of_their_bytes(
    tmp_path, in_tier, make_picture
):
    """Files decoded on use are known by their bytes; what turns them counts since it is seen."""
    for name, orientation in (("plain", 1), ("turned", 6)):
        (tmp_path / name / "train/a").mkdir(parents=True)
        content = stored(make_picture(1, 32, 32), orientation)
        (tmp_path / name / "train/a/1.png").write_bytes(content)
        split = in_tier("encoded", tmp_path / name)
        plain = hashlib.blake2b(digest_size=16)
        plain.update(len(content).to_bytes(8, "little") + content)
        assert (split.images.store.content() == plain.hexdigest()) == (orientation == 1)


def test_what_was_cached_lying_is_made_anew(tmp_path, in_tier, make_picture, monkeypatch):
    (tmp_path / "data/train/a").mkdir(parents=True)
    image = make_picture(1, 32, 32)
    (tmp_path / "data/train/a/1.png").write_bytes(stored(image, 6))
    with monkeypatch.context() as before:
        before.setattr(tiers, "VERSION", 1)
        before.setattr(picture, "orientation_of", lambda image, content: 1)
        lying = in_tier("mapped", tmp_path / "data").take(torch.arange(1))
    found = in_tier("mapped", tmp_path / "data").take(torch.arange(1))
    assert torch.equal(lying[0], turned(image, 1))
    assert torch.equal(found[0], turned(image, 6))

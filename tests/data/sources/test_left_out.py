"""What a class folder holds besides images is said, by ending; all that pillow opens is read."""

from io import BytesIO

import pytest
import torch
from PIL import Image

from ddkit.data.options import DataOptions
from ddkit.data.sources.load import load
from ddkit.runtime.errors import DdkitError

FORMATS = {
    **{"bmp": "BMP", "dib": "DIB", "gif": "GIF", "jfif": "JPEG", "jp2": "JPEG2000", "jpe": "JPEG"},
    **{"JPG": "JPEG", "j2k": "JPEG2000", "pcx": "PCX", "pnm": "PPM", "tga": "TGA", "tiff": "TIFF"},
    **{"avif": "AVIF", "webp": "WEBP", "apng": "PNG"},
}


def encoded(kind: str, grey: int) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(stream, kind)
    return stream.getvalue()


def test_all_usual_endings_are_read(tree):
    files = {
        f"train/a/{n:02d}.{ending}": (kind, 10 * n)
        for n, (ending, kind) in enumerate(FORMATS.items())
    }
    folder = tree({name: encoded(*about) for name, about in files.items()})
    train = load(DataOptions(name=str(folder)), "train")
    assert len(train) == len(FORMATS)
    greys = train.take(torch.arange(len(train)))[:, 0, 4, 4]
    assert (greys - torch.arange(len(train)) * 10).abs().max() <= 3  # JPEG and its like are lossy


def test_other_files_are_counted_by_ending_once(tree, png, heard):
    others = [*(f"cat/{n}.txt" for n in range(3)), "cat/sub/x.MP4", "dog/y.mp4", "dog/LICENSE"]
    unseen = ["cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "dog/._1.png"]
    images = ["train/cat/1.png", "train/dog/1.PNG", "train/loose.png", "test/cat/1.png"]
    files = dict.fromkeys([*images, "test/dog/1.png", "train/README.md"], png(1))
    folder = tree(files | dict.fromkeys([f"train/{name}" for name in others + unseen], b""))
    for _ in range(2):
        for split in ("train", "test"):
            load(DataOptions(name=str(folder)), split, progress=heard)
    said = "7 files were left out: 3 .txt, 2 .mp4, 1 .png, 1 without an ending"
    assert heard.notes == [f"{folder}/train: {said}"]


def test_only_chosen_classes_are_counted(tree, png, heard):
    images = dict.fromkeys(["train/cat/1.png", "train/dog/1.png", "test/cat/1.png"], png(1))
    folder = tree(images | {"train/cat/a.txt": b"", "test/dog/1.png": png(1)})
    load(DataOptions(name=str(folder), classes=["dog", "cat"]), "test", progress=heard)
    assert not heard.notes
    load(DataOptions(name=str(folder), classes=1), "train", progress=heard)
    assert heard.notes == [f"{folder}/train: 1 file was left out: 1 .txt"]


def test_a_class_of_other_files_says_what_it_holds(tree, png):
    folder = tree({"train/cat/1.png": png(1), "train/dog/1.heic": b"", "train/dog/2.heic": b""})
    with pytest.raises(DdkitError, match=r"train/dog holds no images, but 2 \.heic$"):
        load(DataOptions(name=str(folder)), "train")


def test_a_link_to_nothing_is_named(tree, png, monkeypatch):
    folder = tree({"train/cat/1.png": png(1)})
    (folder / "train/cat/2.png").symlink_to("gone.png")
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    with pytest.raises(
        DdkitError, match=r"train/cat/2\.png is not a readable image \(FileNotFound"
    ):
        load(DataOptions(name=str(folder)), "train")

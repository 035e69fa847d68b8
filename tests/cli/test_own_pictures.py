"""A folder of mixed pictures, from `ddkit data` to an export, as README types it."""

import json
import shlex
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

import ddkit as library
from ddkit.data.sources import load as sources

README = Path(__file__).parents[2] / "README.md"
SMALL = {
    "data": [],
    "plan": ["-m", "dm", "--steps", "2", "--network", "convnet:depth=2:width=4"],
    "distill": ["-m", "dm", "--steps", "2", "--network", "convnet:depth=2:width=4"],
    "evaluate": ["--seeds", "1", "--epochs", "1", "--no-real"],
    "show": [],
    "export": [],
}
"""What a test adds to each command, so that it takes seconds."""


@pytest.fixture
def photos(tmp_path) -> Path:
    """Make 20 pictures of each of two classes: turned, see-through, of palettes, inks, 16 bits."""
    generator = np.random.default_rng(0)
    for channel, name in enumerate(("cats", "dogs")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(20):
            height, width = (30, 40) if number % 2 else (36, 26)
            pixels = generator.integers(0, 90, (height, width, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            image = Image.fromarray(pixels)
            if number % 5 == 0:
                turned = Image.Exif()
                turned[0x0112] = 6
                image.save(folder / f"{number}.jpg", exif=turned)
            elif number % 5 == 1:
                image.putalpha(128)
                image.save(folder / f"{number}.png")
            elif number % 5 == 2:
                image.save(folder / f"{number}.gif")
            elif number % 5 == 3:
                image.convert("CMYK").save(folder / f"{number}.JPG")
            else:
                deep = np.asarray(image.convert("L")).astype(np.uint16) << 4
                Image.fromarray(deep).save(folder / f"{number}.png")
        (folder / "notes.txt").write_text("from the holidays")
    return tmp_path / "photos"


def commands() -> list[list[str]]:
    """Return the commands on ./photos in the README, in its order."""
    text = README.read_text(encoding="utf-8")
    lines = text.partition("## Your own pictures")[2].partition("\n## ")[0].splitlines()
    typed = [shlex.split(line, comments=True) for line in lines if line.startswith("    ddkit ")]
    assert [words[1] for words in typed] == list(SMALL)
    return [words[1:] for words in typed]


def test_the_path_in_the_readme_works_as_typed(ddkit, photos, tmp_path):
    said = {words[0]: ddkit(*words, *SMALL[words[0]]) for words in commands()}
    assert "cats, dogs" in said["data"]
    assert "│ train │ 40 " in said["data"]
    found = library.load(tmp_path / "runs" / "photos")
    data = found.config["data"]
    assert (data["resize"], data["test_share"]) == (32, 0.2)
    assert list(found.class_names) == ["cats", "dogs"]
    assert found.config["minutes"] == 20
    assert "random real images" in said["evaluate"]
    back = datasets.load_dataset(str(tmp_path / "photos-hf"), split="train")
    assert back.features["label"].names == ["cats", "dogs"]
    assert np.array_equal(np.asarray(back[0]["image"]).shape, (32, 32, 3))


def test_what_was_chosen_is_said(called, photos, monkeypatch):
    monkeypatch.setattr(sources, "_said", set())  # once in a process
    _, _, err = called("data", "./photos")
    for words in (
        "the images of ./photos differ in size: scaled to 32x32",
        "2 files were left out: 2 .txt",
        "has no test split, which `ddkit evaluate` will need: --test-share 0.2",
        "pixels of more than 8 bits use 12",
    ):
        assert words in err
    code, out, _ = called("data", "./photos", "--resize", "40", "--json")
    assert code == 0
    assert json.loads(out)["train"]["shape"] == [3, 40, 40]


def test_a_set_without_a_test_split_is_not_evaluated(ddkit, refused, photos):
    ddkit("distill", "-m", "random", "--data", "./photos", "-o", "run", "-q")
    assert "has no test split: --test-share 0.2" in refused("evaluate", "run", "--seeds", "1")

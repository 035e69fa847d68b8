"""What is wrong with data, or strange, is said before work begins."""

from importlib import import_module

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import ddkit
from ddkit.data.options import DataOptions
from ddkit.data.pixels.decoding import Decoder
from ddkit.data.sources import published
from ddkit.data.sources.equal import note_equal
from ddkit.data.sources.load import load
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def pets(tmp_path, make_picture):
    """Build a folder of classes, each of so many pictures, of which some classes repeat one."""

    def build(classes, each=3, repeated="", size=(16, 16)):
        for number, name in enumerate(classes):
            for part in ("train", "test"):
                folder = tmp_path / "pets" / part / name
                folder.mkdir(parents=True)
                for index in range(each):
                    shown = 10 * number + (0 if name in repeated else index)
                    make_picture(shown, *size).save(folder / f"{index}.png")
        return tmp_path / "pets"

    return build


@pytest.fixture
def decoded(monkeypatch):
    """The places of all images that are decoded from now on."""
    places, one = [], Decoder.one
    monkeypatch.setattr(
        Decoder, "one", lambda self, file: places.append(file[1]) or one(self, file)
    )
    return places


@pytest.mark.parametrize(("channels", "side"), [(3, 65), (3, 224), (1, 112)])
def test_zca_of_large_pictures_is_refused_once_the_first_is_known(tree, decoded, channels, side):
    mode = "RGB" if channels == 3 else "L"
    root = tree({})
    for name in ("a", "b"):
        (root / "train" / name).mkdir(parents=True)
        for number in range(3):
            Image.new(mode, (300, 200)).save(root / "train" / name / f"{number}.png")
    with pytest.raises(DdkitError, match=f"ZCA of {channels * side**2} values .* or --resize 64"):
        load(DataOptions(name=str(root), space="zca", resize=side), "train")
    assert len(decoded) == 1
    load(DataOptions(name=str(root), space="zca", resize=64), "train")


def test_zca_of_a_set_of_a_name_is_refused_before_it_is_scaled(monkeypatch):
    source = published.Published("CIFAR10", mirror=True)
    split = Split(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4) % 2, ("a", "b"))
    monkeypatch.setattr(published.Published, "__call__", lambda self, options, part: split)
    monkeypatch.setattr("ddkit.data.sources.load.resized", None)
    assert source is not None
    with pytest.raises(DdkitError, match="ZCA of 150528 values per image"):
        load(DataOptions(name="cifar10", space="zca", resize=224), "train")


@pytest.mark.parametrize("tier", ["memory", "mapped", "encoded"])
def test_classes_of_copies_of_one_image_are_said(pets, monkeypatch, tier):
    monkeypatch.setenv("DDKIT_TIER", tier)

    def said(**options):
        progress = Notes()
        load(DataOptions(name=str(root), **options), "train", progress=progress)
        return [note for note in progress.notes if "equal" in note]

    root = pets("abcdef", repeated="bcdef")
    (equal,) = said()
    assert equal == "data: all images are equal within each of 5 classes: 'b', 'c', 'd', …"
    assert said() == [equal]
    assert said(classes="a,b") == ["data: all images of class 'b' are equal"]
    assert said(classes="a") == []


def test_two_copies_beside_other_images_and_single_images_are_nothing_to_say():
    images = torch.zeros(600, 1, 2, 2, dtype=torch.uint8)
    images[599] = 1  # the last one alone differs
    images[298] = 1
    labels = torch.cat([torch.zeros(299), torch.ones(300), torch.full((1,), 2)]).long()
    progress = Notes()
    note_equal(Split(images, labels, ("a", "b", "c")), progress)
    assert progress.notes == ["data: all images of class 'b' are equal"]


def outcome(command, *arguments):
    """Return the error that a command of ddkit ends with."""
    module = import_module(f"ddkit_cli.commands.{command}")
    result = CliRunner().invoke(getattr(module, command), arguments)
    assert isinstance(result.exception, DdkitError), result.output
    return str(result.exception)


def test_one_class_is_refused_wherever_data_are_opened(pets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = str(pets("ab"))
    words = "class to tell apart, but needs at least two: add images of another class, or name more"
    small = ("--resize", "8", "--ipc", "1")
    for command in (("distill", "-m", "random"), ("bench", "-m", "random,herding", "--dry-run")):
        name, *rest = command
        line = outcome(name, *rest, "--data", root, "--classes", "1", *small)
        assert f"has 1 {words} with --classes" in line
    for data in ("5,1,1x8x8", "5,2,1x8x8"):
        classes = ("--classes", "1") * data.startswith("5,2")
        assert words in outcome("plan", "--like", data, "--data", "x", *classes, "-m", "random")
    assert not list(tmp_path.rglob("*.safetensors"))
    made = ddkit.distill("random", root, 1, resize=8, out=tmp_path / "run")
    (tmp_path / "pets/train/b").rename(tmp_path / "gone")
    (tmp_path / "pets/test/b").rename(tmp_path / "gone too")
    assert words in outcome("evaluate", str(made.file.path), "--seeds", "1", "--epochs", "1")

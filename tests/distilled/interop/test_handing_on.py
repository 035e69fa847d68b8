"""What leaves ddkit is loaded by what others have: `datasets`, torchvision, one line of Python."""

import re

import click
import datasets
import numpy as np
import pytest
import torch
import yaml
from ddkit_cli.main import ddkit as command_line
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder

import ddkit
from ddkit.distilled.dataset import DistilledDataset
from ddkit.distilled.interop.card import shared
from ddkit.distilled.interop.exporting import export_set, loading, push_set
from ddkit.distilled.interop.formats import LAYOUTS
from ddkit.labels import DrawnViews, EpochLabels, SoftLabels
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.images import Synthetic

CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
ORDER = [0, 3, 1, 4, 2, 5]  # rows of `mixed`, class by class


@pytest.fixture
def bytes_of_images() -> Tensor:
    return torch.randint(0, 256, (6, 3, 8, 6), generator=torch.Generator().manual_seed(3)).byte()


@pytest.fixture
def made(artifact, make_split, bytes_of_images):
    """Write a set of ddkit; its images lie in another order than class by class if `mixed`."""

    def make(labels=None, *, mixed: bool = False, **config) -> DistilledDataset:
        classes = torch.tensor([0, 1, 2, 0, 1, 2]) if mixed else CLASSES
        images = Synthetic(bytes_of_images, classes)
        about = {"train": make_split(shape=(3, 8, 6)), **config}
        return ddkit.load(artifact("set.safetensors", images=images, labels=labels, **about))

    return make


def of_epochs(mix="cutmix") -> EpochLabels:
    return EpochLabels(torch.zeros(2, 6, 3), DrawnViews(0, 6, (8, 6), (0.3, 1.0), True, mix), 4.0)


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_datasets_loads_pixels_classes_names_and_soft_labels(
    made, send, bring, tmp_path, bytes_of_images, kind
):
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(4))
    distilled = made(SoftLabels(logits, 20.0), mixed=True)
    out = send(distilled, "hf", "out", labels=kind)
    table = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "hub"))
    assert table.column_names == ["image", "label", "soft_label"]
    assert table.features["label"].names == distilled.class_names
    assert table["label"][:] == CLASSES.tolist()
    seen = np.stack([np.asarray(image) for image in table["image"]])
    assert np.array_equal(seen, bytes_of_images[ORDER].permute(0, 2, 3, 1).numpy())
    expected = logits if kind == "logits" else logits.softmax(1)
    torch.testing.assert_close(torch.tensor(table["soft_label"][:]), expected[ORDER])
    again = bring(out, unit=True, labels=kind, temperature=20.0)
    assert again.class_names == distilled.class_names
    torch.testing.assert_close(again.labels.logits.softmax(1), logits[ORDER].softmax(1))
    if kind == "probabilities":  # as logits they would be next to uniform
        with pytest.raises(DdkitError, match="give --labels probabilities"):
            bring(out, unit=True)


def test_a_card_says_what_the_set_is_and_not_where_it_was_made(made, send, tmp_path):
    out = send(made(SoftLabels(torch.zeros(6, 3), 20.0), data={"name": "/home/me/cats"}), "hf", "o")
    text = (out / "README.md").read_text("utf-8")
    header = front_matter(text)
    assert header["license"] == "unknown"
    assert header["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"}
    ]
    assert header["pretty_name"] == "cats, distilled by random"
    for part in (
        "6 synthetic images of 3×8×6, 2 for each of 3 classes",
        "`soft_label` | logits, a number per class, for a loss with temperature 20",
        'method = "random"',
        "To be filled in",
        "--labels logits --temperature 20",
    ):
        assert part in text
    assert "/home" not in text
    assert shared({"a": None, "b": ["../x/y", "C"]}) == {"b": ["y", "C"]}


def test_a_card_of_a_set_whose_data_nobody_knows(made, send, bring, tmp_path, bytes_of_images):
    for row, image in enumerate(bytes_of_images):
        place = tmp_path / "set" / "abc"[row // 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{row}.png")
    found = bring(tmp_path / "set", format="imagefolder", unit=True)
    text = (send(found, "hf", "out", labels="hard") / "README.md").read_text("utf-8")
    assert front_matter(text)["pretty_name"] == "A set of a tool of the format imagefolder"
    assert "soft_label" not in text
    assert "They are not recorded." in text


HARD_ONLY = ("dc", "eccv24", "idc", "rded", "sre2l")


@pytest.mark.parametrize(
    ("name", "soft"),
    [(name, False) for name in LAYOUTS if name != "frepo"]  # its line needs flax
    + [(name, True) for name in LAYOUTS if name not in ("frepo", *HARD_ONLY)],
)
def test_the_line_that_an_export_names_loads_it(made, send, name, soft):
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(4))
    distilled = made(SoftLabels(logits) if soft else None)
    out = send(distilled, name, "it's.npz", labels="logits" if soft else None)
    found: dict = {}
    exec(loading(name, out), found)  # noqa: S102 - what a user would type
    images = found["images"] if "images" in found else found["data"]
    assert len(images) == 6
    if name in ("imagefolder", "sre2l", "rded"):
        assert images.targets == CLASSES.tolist()
        assert images[5][0].size == (6, 8)
    elif name == "hf":
        assert images["label"][:] == CLASSES.tolist()
    else:
        height = 1 if name == "kip" else 2
        assert images.shape[height] == 8
    if soft and name != "hf":
        labels = found["logits"] if name == "imagefolder" else found["labels"]
        assert torch.equal(torch.as_tensor(labels), logits)
    elif "labels" in found and name != "kip":
        assert torch.equal(found["labels"], CLASSES)


def test_fkd_labels_do_not_lie_among_the_folders_of_classes(made, send):
    out = send(made(of_epochs("none")), "sre2l", "out", batch_size=4)
    assert len(list((out / "fkd").rglob("*.tar"))) == 4
    found: dict = {}
    exec(loading("sre2l", out), found)  # noqa: S102
    assert isinstance(found["data"], ImageFolder)
    assert found["data"].targets == CLASSES.tolist()


def named_command(line: str) -> list[str]:
    """Return the words of the `ddkit relabel` command that a refusal names."""
    return re.search(r"`ddkit (relabel [^`]+)`", line)[1].split()


@pytest.mark.parametrize("name", ["hf", "mtt", "imagefolder", "apm", "kip", "dd-ranking", "sre2l"])
def test_labels_of_each_epoch_are_refused_with_both_ways_out(made, tmp_path, name):
    distilled = made(of_epochs(), plugin="teddy", method="teddy")
    with pytest.raises(DdkitError, match="--labels hard") as caught:
        export_set(distilled.file.path, tmp_path / "out", name, batch_size=3)
    words = named_command(str(caught.value))
    kind = ("labels=epoch", "--set", "mix=none") if name == "sre2l" else ("labels=image",)
    suffix = "epoch" if name == "sre2l" else "image"
    path = distilled.file.path
    out = str(path.with_name(f"set-{suffix}.safetensors"))
    assert words == ["relabel", str(path), "--set", *kind, "-o", out]
    context = click.Context(command_line)
    relabel = command_line.get_command(context, "relabel")
    assert relabel.make_context("relabel", words[1:]).params["artifact"] == path


def test_who_labelled_otherwise_is_told_who_can(made, bring, send, tmp_path):
    with pytest.raises(DdkitError) as caught:
        send(made(SoftLabels(torch.zeros(6, 3))), "rded", "out", batch_size=2)
    assert "has soft labels" in str(caught.value)
    assert named_command(str(caught.value))[2:4] == ["--relabel-from", "teddy"]


def test_a_push_sends_what_an_export_writes_and_leaves_a_card_that_is_there(
    made, monkeypatch, tmp_path
):
    sent: dict = {}

    class Hub:
        def create_repo(self, name, **said):
            sent["repo"] = (name, said["repo_type"])

        def file_exists(self, name, path, **said):
            return sent.get("card", False)

        def upload_folder(self, *, folder_path, ignore_patterns, **said):
            files = {p.relative_to(folder_path).as_posix() for p in folder_path.rglob("*.*")}
            sent["files"] = files - set(ignore_patterns or ())

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    path = made().file.path
    assert push_set(path, "me/cats", "hf") == []
    assert sent["repo"] == ("me/cats", "dataset")
    assert sent["files"] == {"README.md", "data/train-00000-of-00001.parquet"}
    sent["card"] = True
    assert push_set(path, "me/cats", "hf") == ["README.md on the hub stays as it was"]
    assert sent["files"] == {"data/train-00000-of-00001.parquet"}
    assert loading("hf", "me/cats").endswith("load_dataset('me/cats', split='train')")

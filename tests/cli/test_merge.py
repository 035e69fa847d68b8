"""`ddkit merge`: what it writes is a set like any other, for every other command."""

import json

import pytest
import torch
from PIL import Image

import ddkit as library


@pytest.fixture
def random_sets(ddkit) -> list[str]:
    """Make two sets of random real digits, of ipc 1 and 2, with hard labels."""
    for ipc, folder in enumerate(("one", "two"), 1):
        ddkit(
            "distill",
            "-m",
            "random",
            "--network",
            "convnet:width=4",
            "--threads",
            "1",
            "--ipc",
            str(ipc),
            "--seed",
            str(ipc),
            "-o",
            folder,
            "-q",
        )
    return ["one", "two"]


def test_teddys_sets_are_merged_evaluated_and_drawn(ddkit, refused, small, tmp_path):
    for ipc, folder in enumerate(("one", "two"), 1):
        ddkit(
            "distill",
            *small,
            "--ipc",
            str(ipc),
            "--seed",
            str(ipc),
            "--pool-seed",
            "0",
            "-o",
            folder,
            "-q",
        )
    assert refused("merge", "one", "two", "-o", "both.safetensors").endswith(
        "differ in the temperature of labels: 4.0 and 20.0; "
        "`ddkit relabel` gives one of them labels like the other's"
    )  # the preset for one image per class has another one
    ddkit("relabel", "two", "--set", "temperature=4", "-o", "two.safetensors")
    said = ddkit("merge", "one", "two.safetensors", "-o", "both.safetensors")
    assert "2 sets merged, ipc 3" in said
    assert "30 of (1, 8, 8), 1.9 kB" in said
    assert "next: ddkit evaluate both.safetensors" in said

    merged = library.load(tmp_path / "both.safetensors")
    assert (merged.labels.kind, merged.labels.logits.shape) == ("epoch", (2, 30, 10))
    third = torch.arange(30) % 3  # the first set has one of three images of each class
    for name, mine in (("one", third == 0), ("two.safetensors", third > 0)):
        part = library.load(tmp_path / name)
        before = part.inputs(torch.arange(len(part)), 1)
        after = merged.inputs(mine.nonzero().flatten(), 1)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))

    assert "teddy on digits, ipc 3, seed 1" in ddkit("inspect", "both.safetensors")
    about = json.loads(ddkit("inspect", "both.safetensors", "--json"))
    assert [(part["ipc"], part["seed"]) for part in about["merged"]] == [(1, 1), (2, 2)]

    shown = json.loads(ddkit("show", "both.safetensors", "--json"))
    assert shown == {"sheet": "contact-sheet.png", "initial": False}
    sheet = Image.open(tmp_path / "contact-sheet.png")
    assert 3 * 64 < sheet.width < 6 * 64  # three images a class, without their initial ones

    rows = json.loads(
        ddkit(
            "evaluate", "both.safetensors", "--seeds", "1", "--epochs", "2", "--no-real", "--json"
        )
    )
    assert [(row["set"], row["protocol"]) for row in rows] == [
        ("teddy", "dsa"),
        ("random real images", "dsa"),
        ("teddy", "soft"),
        ("random real images", "soft"),
    ]
    assert {row["image_bytes"] for row in rows} == {30 * 64}  # the baseline has as many images


def test_a_merged_set_is_relabelled_trained_on_and_started_from(ddkit, random_sets, tmp_path):
    ddkit("merge", *random_sets, "-o", "both.safetensors", "-q")
    ddkit("train", "both.safetensors", "--epochs", "1", "--out", "weights.safetensors", "-q")
    ddkit("relabel", "both.safetensors", "-o", "again.safetensors")
    ddkit(
        "distill",
        "-m",
        "random",
        "--network",
        "convnet:width=4",
        "--ipc",
        "3",
        "--init",
        "both.safetensors",
        "-o",
        "three",
        "-q",
    )
    rows = torch.arange(30)
    merged = library.load(tmp_path / "both.safetensors").pixels(rows)
    for name in ("again.safetensors", "three"):
        assert torch.equal(library.load(tmp_path / name).pixels(rows), merged)


def test_figures_for_machines(ddkit, random_sets):
    assert json.loads(ddkit("merge", *random_sets, "-o", "both.safetensors", "--json")) == {
        "artifact": "both.safetensors",
        "merged": 2,
        "images": 30,
        "ipc": 3,
        "image_bytes": 30 * 64,
        "labels": "hard",
        "label_bytes": 0,
    }


def test_what_exists_is_only_overwritten_on_request(ddkit, refused, random_sets, tmp_path):
    merge = ["merge", *random_sets, "-o", "both.safetensors"]
    ddkit(*merge)
    before = (tmp_path / "both.safetensors").read_bytes()
    assert refused(*merge) == (
        "error: --out both.safetensors already exists: name a new file, or use --overwrite"
    )
    ddkit(*merge, "--overwrite")
    assert (tmp_path / "both.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one"], "two or more distilled sets, got 1"),
        (["one", "nowhere.safetensors"], "no such file: nowhere.safetensors"),
        (["one", "one/distilled.safetensors"], "are the same file: name it once"),
    ],
)
def test_what_cannot_be_merged_gets_one_line(refused, random_sets, tmp_path, arguments, words):
    assert words in refused("merge", *arguments, "-o", "both.safetensors")
    assert not (tmp_path / "both.safetensors").exists()


def test_other_data_are_refused_before_anything_is_written(ddkit, refused, random_sets, tmp_path):
    ddkit("distill", "-m", "random", "--classes", "1,7", "--threads", "1", "-o", "three", "-q")
    assert refused("merge", "one", "three", "-o", "both.safetensors") == (
        "error: one/distilled.safetensors and three/distilled.safetensors differ in the number of "
        "classes: 10 and 2; distil both from the same data with the same flags"
    )
    assert not (tmp_path / "both.safetensors").exists()

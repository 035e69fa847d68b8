"""`ddkit relabel`: labels in other forms, with and without a pool; what `inspect` says of them."""

import json
import re
import shlex
import shutil

import pytest
import torch

import ddkit as library
from ddkit.data.augmentation.views import STORED

ROWS = torch.arange(10)


def test_what_an_export_advises_gives_a_set_labels_that_it_can_hold(
    ddkit, refused, distilled, tmp_path
):
    line = refused("export", "run", "--format", "hf", "-o", "out")
    ddkit(*shlex.split(re.search(r"`ddkit ([^`]+)`", line)[1]))
    ddkit("export", "run/distilled-image.safetensors", "--format", "hf", "-o", "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "digits, distilled by teddy" in card
    assert "`soft_label` | logits" in card


def inspected(ddkit, name: str) -> dict:
    return json.loads(ddkit("inspect", name, "--json"))


def test_labels_are_converted_without_data_and_without_a_pool(ddkit, distilled, tmp_path):
    shutil.rmtree(tmp_path / "cache")
    said = ddkit("relabel", "run", "--labels-as", "int8", "--keep-epochs", "1", "-o", "a.st")
    assert "labels epoch, int8, 120 B" in said
    assert "1 of 2 epochs are left out and logits are rounded to 255 levels" in said
    assert "run/distilled.safetensors keeps what it had" in said
    made = json.loads(ddkit("relabel", "a.st", "--labels-as", "top-k:2", "-o", "b.st", "--json"))
    assert (made["form"], made["epochs"], made["label_bytes"]) == ("top-k:2", 1, 10 * 6)
    assert made["lost"].startswith("logits are no more exact than the int8")
    first, second = library.load(tmp_path / "run"), library.load(tmp_path / "a.st")
    assert torch.equal(first.pixels(ROWS), second.pixels(ROWS))
    inputs, wanted = first.inputs(ROWS, 0)
    for epoch in (0, 1):  # the second starts over
        seen, targets = second.inputs(ROWS, epoch)
        assert torch.equal(seen, inputs)
        torch.testing.assert_close(targets.softmax(1), wanted.softmax(1), rtol=0, atol=0.02)
    assert second.metadata["config"]["labels_as"] == "int8"
    assert not (tmp_path / "cache").exists()


def test_a_recipe_is_made_and_filled_in_again(ddkit, distilled, tmp_path):
    ddkit("relabel", "run", "--labels-as", "recipe", "-o", "recipe.st")
    found = inspected(ddkit, "recipe.st")
    assert (found["label_bytes"], found["view_bytes"], found["label_form"]) == (0, 0, "recipe")
    assert found["label_epochs"] == 2
    ddkit("relabel", "recipe.st", "--labels-as", "fp16", "-o", "again.st")
    run, recipe, again = (
        library.load(tmp_path / name) for name in ("run", "recipe.st", "again.st")
    )
    assert torch.equal(again.labels.logits, run.labels.logits)
    for epoch in (1, 2):
        assert torch.equal(recipe.inputs(ROWS, epoch)[0], run.inputs(ROWS, epoch)[0])
        exact, rounded = recipe.inputs(ROWS, epoch)[1], run.inputs(ROWS, epoch)[1]
        torch.testing.assert_close(exact, rounded, rtol=2**-10, atol=1e-4)
    rows = json.loads(
        ddkit(
            "evaluate",
            "recipe.st",
            "--seeds",
            "1",
            "--epochs",
            "2",
            "--no-real",
            "--no-random",
            "--json",
        )
    )
    assert [row["labels"] for row in rows] == ["hard", "recipe"]


def test_a_run_stores_its_labels_as_it_is_told(ddkit, small, distilled, tmp_path):
    ddkit("distill", *small, "--labels-as", "int8", "--label-views", "stored", "-o", "own", "-q")
    ddkit("relabel", "run", "--labels-as", "int8", "--label-views", "stored", "-o", "converted.st")
    own, converted = (library.load(tmp_path / name) for name in ("own", "converted.st"))
    ours, theirs = own.labels.tensors(), converted.labels.tensors()
    assert sorted(ours) == sorted(theirs)
    assert len(ours) == 2 + len(STORED) + 1
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_inspect_adds_up_the_bytes_of_images_labels_and_views(ddkit, distilled):
    found = inspected(ddkit, "run")
    assert found["image_bytes"] == 10 * 8 * 8
    assert (found["label_bytes"], found["view_bytes"]) == (2 * 10 * 10 * 2, 0)
    ddkit("relabel", "run", "--label-views", "stored", "-o", "stored.st")
    found = inspected(ddkit, "stored.st")
    views = 2 * 10 * (16 + 1 + 4 + 8 + 4) + 2
    assert (found["label_bytes"], found["view_bytes"]) == (400 + views, views)
    said = ddkit("inspect", "stored.st")
    assert "epoch, fp16, 400 B, 2 epochs" in said
    assert "stored, 662 B" in said
    assert "640 B" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels-as", "int9"], ["--labels-as int9", "fp16, int8, top-k:K"]),
        (["--labels-as", "top-k:0"], ["--labels-as top-k:0"]),
        (["--labels-as", "top-k:10"], ["top-k:10 of 10 classes leaves none out"]),
        (["--keep-epochs", "3"], ["labels of 2 epochs: 3 cannot be kept"]),
        (["--labels-as", "recipe", "--label-views", "stored"], ["leave out --label-views stored"]),
        (["--labels-as", "recipe", "--set", "labels=image"], ["--labels-as recipe: 'teddy'"]),
        (["--labels-as", "recipe", "--relabel-from", "random"], ["--labels-as recipe: 'random'"]),
    ],
)
def test_forms_that_cannot_be_had_are_refused(refused, distilled, tmp_path, arguments, words):
    line = refused("relabel", "run", *arguments, "-o", "new.st")
    for word in words:
        assert word in line
    assert not (tmp_path / "new.st").exists()


def test_hard_labels_have_no_other_form(ddkit, refused, small):
    ddkit("distill", "--method", "random", "--threads", "1", "-o", "run", "-q")
    line = refused("relabel", "run", "--labels-as", "int8", "-o", "new.st")
    assert "run/distilled.safetensors has hard labels, which have only one form" in line


def test_a_run_cannot_ask_for_what_it_cannot_have(refused, small, tmp_path):
    line = refused("distill", *small, "--labels-as", "top-k:10", "-o", "run")
    assert "leaves none out" in line
    line = refused("distill", "--method", "random", "--labels-as", "recipe", "-o", "run")
    assert "--labels-as recipe: 'random'" in line
    assert not (tmp_path / "run").exists()


@pytest.fixture
def planted(ddkit, small, tmp_path):
    """Distil with a network from a file, which then writes a mark whenever it is executed."""
    imports = "from ddkit import networks\nimport torch\n\n\n"
    source = imports + "def make(classes, shape):\n    return {}\n"
    body = (
        "networks.create('convnet:width=8:norm=batch', classes=classes, shape=shape, "
        "generator=torch.Generator())"
    )
    (tmp_path / "own.py").write_text(source.format(body))
    mine = ["own.py:make" if word.startswith("convnet") else word for word in small]
    ddkit("distill", *mine, "-o", "run", "-q")
    marked = "from pathlib import Path\n\nPath('executed').write_text('')\n"
    (tmp_path / "own.py").write_text(marked + source.format(body))
    return tmp_path / "executed"


@pytest.mark.parametrize(
    "command",
    [
        ["relabel", "run", "-o", "other.safetensors"],
        ["evaluate", "run", "--seeds", "1", "--epochs", "1", "--networks", "convnet:width=8"],
        ["evaluate", "run", "--seeds", "1", "--epochs", "1"],
        ["train", "run", "--out", "weights.safetensors"],
    ],
)
def test_a_file_that_an_artifact_names_is_not_executed_unasked(refused, planted, command):
    said = refused(*command)
    assert "made with a network from a file, own.py:make" in said
    assert not planted.exists()


def test_a_file_that_the_user_names_as_well_is_executed(ddkit, planted):
    ddkit("relabel", "run", "-o", "other.safetensors", "--network", "own.py:make")
    assert planted.exists()

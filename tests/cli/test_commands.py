"""Each command, from a run to its picture."""

import json

import pytest
import torch
from PIL import Image

import ddkit as library
from ddkit.evaluation import protocols


def test_a_run_from_data_to_picture(ddkit, small, tmp_path, brief_real):
    made = json.loads(ddkit("distill", *small, "--ipc", "2", "-o", "run", "--json"))
    assert made["config"]["options"]["iterations"] == 4
    assert made["cost"]["synthesis_seconds"] > 0
    assert (tmp_path / "run" / "config.toml").exists()

    said = ddkit("inspect", "run")
    assert "teddy on digits, ipc 2, seed 0" in said
    assert "20 of (1, 8, 8)" in said

    ddkit("show", "run")
    sheet = Image.open(tmp_path / "run" / "contact-sheet.png")
    assert sheet.height > 10 * 64
    assert sheet.width > 2 * 2 * 64  # two images a class, initial and final side by side

    rows = json.loads(
        ddkit(
            "evaluate",
            "run",
            "--seeds",
            "2",
            "--epochs",
            "3",
            "--networks",
            "convnet:width=8:norm=batch,convnet:width=4",
            "--json",
        )
    )
    titles = [(row["set"], row["protocol"], row["network"]) for row in rows]
    assert len(titles) == len(set(titles)) == 2 * (2 + 2 + 1)
    assert all(row["n"] == 2 and 0 <= row["mean"] <= 1 for row in rows)
    teddy, random = rows[0], rows[1]
    assert (teddy["set"], random["set"]) == ("teddy", "random real images")
    assert teddy["over_random"] == teddy["mean"] - random["mean"]

    ddkit("train", "run", "--epochs", "2", "--out", "weights.safetensors")
    assert (tmp_path / "weights.safetensors").stat().st_size > 1000

    ddkit("relabel", "run", "--set", "labels=image", "-o", "other.safetensors")
    other = library.load(tmp_path / "other.safetensors")
    assert other.labels.kind == "soft"
    first = library.load(tmp_path / "run")
    assert torch.equal(first.pixels(torch.arange(20)), other.pixels(torch.arange(20)))

    pools = json.loads(ddkit("pool", "list", "--json"))
    assert len(pools) == 1
    table = json.loads(
        ddkit("pool", "inspect", pools[0]["name"], "--distilled", "run", "--epochs", "4", "--json")
    )
    assert len(table["members"]) == 3
    assert all(len(m["kl_to_student"]) == len(table["student_epochs"]) for m in table["members"])
    assert all(value > 0 for m in table["members"] for value in m["kl_to_student"])
    assert "deleted 1 pools" in ddkit("pool", "prune", pools[0]["name"])
    assert json.loads(ddkit("pool", "list", "--json")) == []


def test_random_images_with_teddys_labels(ddkit, small, tmp_path):
    ddkit(
        "distill",
        "--method",
        "random",
        "--relabel-from",
        "teddy",
        "--ipc",
        "2",
        "--network",
        "convnet:width=8:norm=batch",
        "--threads",
        "1",
        "-o",
        "run",
        *(
            p
            for s in ("unit=step", "first=1", "last=3", "every=1", "label_epochs=2")
            for p in ("--set", f"relabel.{s}")
        ),
    )
    distilled = library.load(tmp_path / "run")
    assert distilled.labels.kind == "epoch"
    assert distilled.labels.logits.shape == (2, 20, 10)


def test_a_config_file_repeats_a_run(ddkit, distilled, tmp_path):
    ddkit("distill", "--config", "run/config.toml", "-o", "second")
    first, second = (tmp_path / name / "distilled.safetensors" for name in ("run", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_an_artifact_is_where_another_run_starts(ddkit, distilled, tmp_path):
    ddkit("distill", "--method", "random", "--init", "run", "--threads", "1", "-o", "second")
    rows = torch.arange(10)
    first, second = library.load(distilled), library.load(tmp_path / "second")
    assert torch.equal(first.pixels(rows), second.pixels(rows))


def test_snapshots_are_kept_on_request(ddkit, small, tmp_path):
    ddkit("distill", *small, "--snapshot-every", "2", "-o", "run")
    assert [p.name for p in sorted((tmp_path / "run" / "snapshots").iterdir())] == [
        "step-000002",
        "step-000004",
    ]


def test_lists(ddkit):
    methods = {row["name"]: row for row in json.loads(ddkit("methods", "--json"))}
    assert methods["teddy"]["kind"] == "method"
    assert methods["sre2l"]["kind"] == "alias"
    assert methods["random"]["from"].startswith("ddkit ")
    about = json.loads(ddkit("methods", "teddy", "--json"))
    assert "tiny-imagenet-ipc50" in about["presets"]
    assert {
        "name": "bn_weight",
        "type": "float",
        "default": "1.0",
        "meaning": "weight of the statistics (Table 7)",
    } in about["options"]
    assert "convnet" in json.loads(ddkit("methods", "--networks", "--json"))
    digits = json.loads(ddkit("data", "digits", "--json"))
    assert digits["train"]["images"] + digits["test"]["images"] == 1797
    assert "cifar10" in ddkit("data")


def test_five_lines_train_on_an_artifact_alone(distilled, monkeypatch):
    monkeypatch.chdir(distilled.parent)
    script = """
import ddkit, torch
data = ddkit.load("run")
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
optimiser = torch.optim.SGD(network.parameters(), 0.1)
for epoch in range(5):
    data.epoch = epoch
    for images, labels in torch.utils.data.DataLoader(data, batch_size=4, shuffle=True):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad(); loss.backward(); optimiser.step()
"""
    exec(script, {})  # noqa: S102 - it is ours


@pytest.mark.parametrize(
    "flags",
    [
        ["--imbalance", "0.4", "--set", "statistics=classwise"],
        ["--set", "pool=post", "--set", "members=2", "--set", "finetune_epochs=0.1"],
        ["--space", "zca", "--store", "float16"],
        ["--init", "noise", "--set", "draw=index", "--set", "statistics=exact"],
        ["--holdout", "0.2", "--classes", "1,7,9", "--resize", "12"],
        ["--method", "sre2l", "--set", "first=2", "--set", "last=2", "--set", "labels=hard"],
    ],
)
def test_other_ways_to_run_end_in_an_artifact(ddkit, small, tmp_path, flags):
    ddkit("distill", *small, *flags, "-o", "run", "-q")
    distilled = library.load(tmp_path / "run")
    image, _ = distilled[0]
    assert torch.isfinite(image).all()
    flags = ("--seeds", "1", "--epochs", "2", "--no-real", "--json")
    rows = json.loads(ddkit("evaluate", "run", *flags))
    assert rows[0]["labels"] == "hard"
    assert ddkit("show", "run")


def test_learning_rates_are_tuned_for_both_alike(ddkit, distilled, monkeypatch):
    monkeypatch.setattr(protocols, "SOFT", protocols.SOFT.with_recipe(epochs=5))  # teddy's own
    rows = json.loads(
        ddkit(
            "evaluate",
            "run",
            "--seeds",
            "1",
            "--epochs",
            "5",
            "--tune-lr",
            "--no-real",
            "--protocols",
            "dsa",
            "--own",
            "--json",
        )
    )
    assert [row["tuned"] for row in rows] == [True, True, False]
    assert [row["own"] for row in rows] == [False, False, True]
    assert all(
        any(abs(row["learning_rate"] - 0.01 * f) < 1e-9 for f in (0.1, 0.3, 1, 3, 10))
        for row in rows[:2]
    )

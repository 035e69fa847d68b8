"""A method of someone else's: its own distribution, one file, one entry point."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ddkit as library
from ddkit import registry

SOURCE = Path(__file__).parents[1] / "third_party" / "ddkit-brightness"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Install the distribution into a folder, without network and without build isolation."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--no-build-isolation", "--target", str(target), str(SOURCE)], check=True,
    )  # fmt: skip
    return target


@pytest.fixture
def with_plugin(installed, monkeypatch):
    """Make the folder importable, as an installed distribution is."""
    monkeypatch.syspath_prepend(str(installed))
    return installed


def test_it_is_listed_with_its_distribution_and_options(with_plugin, ddkit):
    methods = {row["name"]: row for row in json.loads(ddkit("methods", "--json"))}
    assert methods["brightness"]["from"] == "ddkit-brightness 1.0"
    about = json.loads(ddkit("methods", "brightness", "--json"))
    assert [option["name"] for option in about["options"]] == ["steps"]
    assert about["hooks"] == ["method_config", "synthesis_loss"]


def test_it_distils_through_the_command_line(with_plugin, ddkit, tmp_path):
    ddkit(
        "distill",
        "-m",
        "brightness",
        "--ipc",
        "2",
        "--threads",
        "1",
        "--set",
        "steps=40",
        "-o",
        "run",
    )
    ddkit("distill", "-m", "random", "--ipc", "2", "--threads", "1", "-o", "start")
    rows = torch.arange(20)
    distilled, start = library.load(tmp_path / "run"), library.load(tmp_path / "start")
    assert distilled.labels.kind == "hard"

    def spread(images: torch.Tensor) -> float:
        brightness = images.mean((1, 2, 3)).view(10, 2)
        return float((brightness[:, 0] - brightness[:, 1]).abs().mean())

    assert spread(distilled.pixels(rows)) < 0.3 * spread(start.pixels(rows))


def test_its_pictures_can_have_teddys_labels(with_plugin, ddkit, tmp_path):
    ddkit("distill", "-m", "brightness", "--relabel-from", "teddy", "--threads", "1", "-o", "run",
          "--network", "convnet:width=8:norm=batch",
          *(p for s in ("unit=step", "first=1", "last=1", "label_epochs=2")
            for p in ("--set", f"relabel.{s}")))  # fmt: skip
    assert library.load(tmp_path / "run").labels.kind == "epoch"


def test_a_broken_one_leaves_the_others_working(ddkit, refused, monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    (broken / "ddkit_broken-1.0.dist-info").mkdir(parents=True)
    (broken / "ddkit_broken.py").write_text("import a_module_that_is_missing\n")
    (broken / "ddkit_broken-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ddkit-broken\nVersion: 1.0\n"
    )
    (broken / "ddkit_broken-1.0.dist-info" / "entry_points.txt").write_text(
        "[ddkit]\nbroken = ddkit_broken\n"
    )
    monkeypatch.syspath_prepend(str(broken))
    registry.installed.cache_clear()
    line = refused("distill", "--method", "broken")
    assert "ddkit-broken 1.0" in line
    assert "a_module_that_is_missing" in line
    ddkit("distill", "--method", "random", "--threads", "1", "-o", "run")
    assert "broken" in ddkit("methods")

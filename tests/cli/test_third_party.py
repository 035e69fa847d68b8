"""A distribution of someone else's: a method, and one of each thing that has a name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ddkit as library
from ddkit.networks import spec_fingerprint
from ddkit.runtime import registry

SOURCE = Path(__file__).parents[1] / "methods" / "third_party" / "ddkit-brightness"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Install the distribution into a folder, without network and without build isolation."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
            "--target",
            str(target),
            str(SOURCE),
        ],
        check=True,
    )
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
    ddkit(
        "distill",
        "-m",
        "brightness",
        "--relabel-from",
        "teddy",
        "--threads",
        "1",
        "-o",
        "run",
        "--network",
        "convnet:width=8:norm=batch",
        *(
            p
            for s in ("unit=step", "first=1", "last=1", "label_epochs=2")
            for p in ("--set", f"relabel.{s}")
        ),
    )
    assert library.load(tmp_path / "run").labels.kind == "epoch"


def test_its_preset_is_applied_to_its_own_data_and_names_its_own_network(with_plugin, ddkit):
    made = json.loads(
        ddkit(
            "distill", "-m", "brightness", "-d", "stripes", "--threads", "1", "-o", "run", "--json"
        )
    )
    assert made["config"]["preset"] == "stripes-ipc1 (nobody)"
    assert made["config"]["options"] == {"steps": 5}
    assert made["config"]["network"] == "linear-pixels"


def test_its_alias_is_listed_and_runs_the_method(with_plugin, ddkit):
    methods = {row["name"]: row for row in json.loads(ddkit("methods", "--json"))}
    said = {key: value for key, value in methods["glance"].items() if value}
    summary = "images as bright as those of their class"  # the distribution's description
    of_it = {"kind": "alias", "method": "brightness", "from": "ddkit-brightness 1.0"}
    assert said == {"name": "glance", **of_it, "summary": summary}
    made = json.loads(ddkit("distill", "-m", "glance", "--threads", "1", "-o", "run", "--json"))
    assert made["config"]["options"] == {"steps": 3}


def test_its_data_its_network_and_its_protocol_are_used_by_name(with_plugin, ddkit):
    assert "stripes" in json.loads(ddkit("data", "--json"))
    assert "linear-pixels" in json.loads(ddkit("methods", "--networks", "--json"))
    ddkit("distill", "-m", "random", "-d", "stripes", "--ipc", "2", "--threads", "1", "-o", "run")
    rows = json.loads(
        ddkit(
            "evaluate",
            "run",
            "--protocols",
            "brief",
            "--networks",
            "linear-pixels:bias=false",
            "--seeds",
            "1",
            "--no-real",
            "--json",
        )
    )
    assert {row["protocol"] for row in rows} == {"brief"}
    assert {row["network"] for row in rows} == {"linear-pixels:bias=false"}
    assert rows[0]["mean"] == 1  # a line tells stripes apart


def test_pools_of_its_network_are_those_of_its_version(with_plugin, ddkit):
    assert spec_fingerprint("linear-pixels") == "linear-pixels@ddkit-brightness 1.0"
    assert spec_fingerprint("convnet:width=8") == "convnet:width=8"


def test_its_command_is_one_of_ddkit(with_plugin, ddkit):
    assert "say how bright the images" in ddkit("--help")
    ddkit("distill", "-m", "random", "--threads", "1", "-o", "run")
    assert ddkit("brightness", "run").startswith("mean brightness 0.")


def test_a_broken_command_leaves_the_others_working(ddkit, refused, monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    info = broken / "ddkit_broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ddkit-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ddkit.commands]\nlost = a_module_that_is_missing:lost\n"
    )
    monkeypatch.syspath_prepend(str(broken))
    registry.installed.cache_clear()
    page = ddkit("--help")
    assert "distill" in page
    assert "lost" not in page
    assert "ddkit-broken 1.0" in refused("lost")


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

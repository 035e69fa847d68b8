"""What `ddkit new-plugin` writes installs, distils, keeps the contract and is well written."""

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("plugin")


@pytest.fixture
def plugin(folder, shell) -> Path:
    """The distribution, written and installed once."""
    written = folder / "ddkit-my-method"
    if not written.exists():
        shell("ddkit new-plugin my-method", folder)
        shell("pip install --quiet -e .", written)
    return written


def test_it_is_listed_with_its_distribution_and_options(plugin, shell, typed):
    methods = {row["name"]: row for row in json.loads(shell("ddkit methods --json", plugin))}
    assert methods["my-method"]["from"] == "ddkit-my-method 0.1.0"
    about = json.loads(typed("ddkit methods my-method --json", plugin))
    assert [option["name"] for option in about["options"]] == ["steps", "lr", "real"]


def test_it_distils_digits(plugin, typed):
    out = typed("ddkit distill -m my-method --threads 1 --set steps=2 -o run --json", plugin)
    assert json.loads(out)["cost"]["synthesis_seconds"] > 0


@pytest.mark.slow  # networks are trained
def test_its_images_teach_more_than_random_ones(plugin, shell):
    shell("ddkit distill -m my-method --threads 1 -o whole -q", plugin)
    rows = json.loads(
        shell(
            "ddkit evaluate whole --no-real --protocols plain --epochs 300 --seeds 3 --json", plugin
        )
    )
    own, random = (row["mean"] for row in rows[:2])
    assert own > random


def test_it_passes_its_own_tests(plugin, typed):
    out = typed("python -m pytest -q", plugin)
    assert " passed" in out.splitlines()[-1]
    assert "failed" not in out


def test_it_is_well_written(plugin, shell):
    shell(
        "ruff check --isolated --line-length 100 --select E,F,W,I,UP,B,C4,SIM,RUF,PT,RET,N,S"
        " --ignore S101 .",
        plugin,
    )
    shell("ruff check . && ruff format --check .", plugin)


@pytest.mark.slow  # mypy reads all of torch
def test_it_is_well_typed(plugin, shell):
    shell("python -m mypy .", plugin)

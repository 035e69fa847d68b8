"""The tables of docs/reproducing.md come from presets and results, and their commands run."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from ddkit.methods.presets import applied_preset
from ddkit.methods.published import figures_in
from ddkit.pipeline.resolve import Request, resolve

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproducing.md").read_text(encoding="utf-8")
METHODS = re.findall(r"^<!-- published: (\S+) -->$", PAGE, re.MULTILINE)
MEASURED = json.loads((ROOT / "benchmarks/results/published.json").read_text(encoding="utf-8"))


@pytest.fixture
def rows(website) -> list[dict[str, str]]:
    """All rows of all tables of the page, by their columns."""
    module, found = website("published"), []
    for method in METHODS:
        lines = [line.strip("| ").split(" | ") for line in module.published(method).splitlines()]
        found += [dict(zip(module.HEADER, line, strict=True), method=method) for line in lines[2:]]
    return found


def test_each_command_distils_with_the_preset_of_its_row(rows):
    assert len(rows) > 70
    for row in rows:
        said = dict(re.findall(r"--(\S+) ([^-\s]\S*)", row["command"].strip("`")))
        data = {"name": said["data"], "resize": int(said["resize"]) if "resize" in said else None}
        common = {"ipc": int(said["ipc"]), "device": "cpu"}
        config = resolve(Request(said["method"], common, data, (), said.get("preset")))
        assert str(config.preset).partition(" (")[0] == row["preset"], row
        assert said["method"] == row["method"]


def test_a_measured_row_shows_the_mean_of_its_networks(rows):
    shown = {f"{row['method']}-{row['preset']}": row for row in rows}
    assert MEASURED["rows"].keys() <= shown.keys()
    for name, found in MEASURED["rows"].items():
        each = [accuracy for networks in found["accuracies"] for accuracy in networks]
        assert shown[name]["measured, %"].startswith(f"{100 * fmean(each):.1f}")
        assert shown[name]["n"] == f"{len(found['accuracies'])} × {len(found['accuracies'][0])}"
    others = [row for name, row in shown.items() if name not in MEASURED["rows"]]
    assert {row["measured, %"] for row in others} == {"not tried"}


def test_measured_rows_are_of_figures_that_presets_still_name():
    for found in MEASURED["rows"].values():
        figures = figures_in(applied_preset(found["method"], found["preset"]))
        named = [figure.model_dump() for figure in figures]
        assert found["published"]
        assert all(figure in named for figure in found["published"])

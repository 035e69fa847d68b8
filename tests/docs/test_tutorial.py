"""The tutorial's commands and files, in its order, in an empty folder."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TUTORIAL = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")


def steps() -> Iterator[tuple[str, str]]:
    """Yield ("sh", commands) and (a file's name, its text) as they stand in the tutorial."""
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE):
        if language == "sh":
            yield "sh", text
            continue
        first, _, rest = text.partition("\n")
        assert first.startswith("# "), f"a block of {language} names its file in its first line"
        yield first.removeprefix("# "), rest


SHORTER = {  # the same commands, with less to do
    "--set steps=20": "--set steps=2",
    "ddkit distill --method gradients --threads 1 --out": (
        "ddkit distill --method gradients --threads 1 --steps 2 --out"
    ),
    "--epochs 100": "--epochs 1 --threads 1 --set gradients.steps=2",
    "--seeds 2 --evaluation-seeds 2": "--seeds 1 --evaluation-seeds 1",
}


def test_each_step_works_and_the_last_one_makes_a_report_of_the_method(tmp_path, shell, typed):
    assert all(TUTORIAL.count(part) == 1 for part in SHORTER)
    folder = tmp_path
    for name, text in steps():
        if name != "sh":
            (folder / name).write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            for part, shorter in SHORTER.items():
                line = line.replace(part, shorter)
            if line.startswith("cd "):
                folder /= line.removeprefix("cd ")
            else:
                (shell if line.startswith("pip ") else typed)(line, folder)
    page = (folder / "runs" / "bench" / "report.html").read_text(encoding="utf-8")
    assert "gradients" in page
    shell("ruff check . && ruff format --check .", folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_step_works_as_it_stands(tmp_path, shell):
    folder = tmp_path
    for name, text in steps():
        if name == "sh":
            *_, where = shell(f"{text}\npwd", folder).splitlines()
            folder = Path(where)  # a `cd` holds for the steps that follow
        else:
            (folder / name).write_text(text, encoding="utf-8")
    page = (folder / "runs" / "bench" / "report.html").read_text(encoding="utf-8")
    assert "gradients" in page
    shell("ruff check . && ruff format --check .", folder)
    methods = {row["name"]: row for row in json.loads(shell("ddkit methods --json", folder))}
    assert methods["gradients"]["from"] == "ddkit-gradients 0.1.0"

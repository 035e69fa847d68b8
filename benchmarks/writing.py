"""Results as JSON for machines and Markdown for people, with the machine they were measured on."""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Return what figures depend on: device, cores, versions."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def write(
    name: str,
    figures: Mapping[str, Any],
    rows: Iterable[Sequence[str]],
    columns: Sequence[str],
    note: str = "",
    results: Path = RESULTS,
) -> None:
    """Write <name>.json and <name>.md into `results`, and print the latter."""
    results.mkdir(parents=True, exist_ok=True)
    about = machine()
    (results / f"{name}.json").write_text(
        json.dumps({"machine": about, **figures}, indent=2, sort_keys=True) + "\n"
    )
    lines = [
        *table(columns, rows),
        "",
        *([note, ""] if note else []),
        "Measured on: " + ", ".join(f"{key} {value}" for key, value in about.items()) + ".",
    ]
    text = "\n".join(lines) + "\n"
    (results / f"{name}.md").write_text(text)
    print(text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return [line(columns), "|" + "---|" * len(columns), *map(line, rows)]


def line(cells: Sequence[str]) -> str:
    """Return a line of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"

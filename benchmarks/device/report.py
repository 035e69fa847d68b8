"""What was measured so far: printed as it comes, and written after each figure."""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.device.figures import Line, Outcome, Row
from benchmarks.device.floors import Floors
from benchmarks.writing import line, machine, table

COLUMNS = [
    "figure", "arithmetic", "ddkit", "floor", "floor / ddkit", "bare torch", "ddkit / bare", "",
]  # fmt: skip
NOTE = (
    "Medians of 2 to 20 steps, ddkit's and bare torch's in turn. The floor is the larger of two: "
    "the operations of a step's convolutions and products (torch's count) at the best rate of this "
    "device above, or the bytes that they read and write at its bandwidth; all else costs nothing "
    "in it. Above 100 %: caches or parts of images were faster than the large copy or whole files."
)


@dataclass
class Report:
    """The tables of one device.

    Attributes:
        folder: where the files go.
        about: what figures depend on, beside what `machine` says.
    """

    device: torch.device
    folder: Path
    about: dict[str, Any] = field(default_factory=dict)
    floors: Floors | None = None
    rows: list[Row] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the files are called: the device, and on a CPU its threads."""
        if self.device.type == "cuda":
            return file_name(torch.cuda.get_device_name(self.device))
        threads = torch.get_num_threads()
        return f"cpu-{threads}-thread{'s' * (threads > 1)}"

    def begin(self, floors: Floors) -> None:
        self.floors = floors
        print(*table(["floor", "rate"], floors.lines()), "", *table(COLUMNS, []), sep="\n")

    def add(self, lines: Iterable[Line]) -> None:
        """Take up lines one by one; they are there if a later one fails."""
        for each in lines:
            if isinstance(each, Row):
                self.rows.append(each)
                print(line(cells(each)), flush=True)
            else:
                self.outcomes.append(each)
                print(line([f"{key}: {value}" for key, value in each.cells.items()]), flush=True)

    def miss(self, title: str, reason: str) -> None:
        """Note a figure that could not be measured."""
        self.missing.append((title, " ".join(reason.split())))
        print(line([title, self.missing[-1][1]]), flush=True)

    def write(self) -> None:
        """Write all so far as JSON and Markdown."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {**machine(), **self.about}
        content = {
            "machine": about,
            "floors": self.floors.to_json() if self.floors else None,
            "figures": [row.to_json() for row in self.rows],
            "distillation": [outcome.figures for outcome in self.outcomes],
            "missing": dict(self.missing),
        }
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (self.folder / f"{self.name}.json").write_text(text)
        measured = ", ".join(f"{key} {value}" for key, value in about.items())
        parts = [*self._parts(), [f"Measured on: {measured}."]]
        pages = "\n\n".join("\n".join(part) for part in parts)
        (self.folder / f"{self.name}.md").write_text(pages + "\n")

    def _parts(self) -> Iterable[list[str]]:
        if self.floors:
            yield table(["floor", "rate"], self.floors.lines())
        if self.rows:
            yield table(COLUMNS, map(cells, self.rows))
            yield [NOTE]
        if self.outcomes:
            columns = list(self.outcomes[0].cells)
            yield table(columns, (list(outcome.cells.values()) for outcome in self.outcomes))
        if self.missing:
            yield table(["not measured", "because"], self.missing)


def cells(row: Row) -> list[str]:
    """Return the cells of a figure."""

    def shown(seconds: float | None) -> str:
        if seconds is None:
            return ""
        if row.count:
            return f"{row.count / seconds:,.{0 if row.count > 50 * seconds else 2}f} {row.unit}"
        return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.2f} ms"

    floor = f"{shown(row.floor.seconds)} ({row.floor.bound})" if row.floor else ""
    of_floor = f"{100 * row.of_floor:.0f} %" if row.of_floor is not None else ""
    of_bare = f"{row.of_bare:.3f}" if row.of_bare is not None else ""
    return [row.title, row.arithmetic, shown(row.seconds), floor, of_floor, shown(row.bare),
            of_bare, row.note]  # fmt: skip


def file_name(device: str) -> str:
    """Return a device's name as that of a file: lower case, with hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def load() -> str:
    """Return what else the machine does, as the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"

"""What was found so far: printed as it comes, and written after each line."""

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.device.parts import Line, Part
from benchmarks.writing import line, table


class Report:
    """The table of a part on one device, as PART-DEVICE.json and PART-DEVICE.md in a folder.

    Attributes:
        about: what figures depend on; the processes that measure say it.
        missing: why an item gave no line, or no more lines.
    """

    def __init__(self, part: Part, folder: Path):
        self.part, self.folder = part, folder
        self.about: dict[str, Any] = {}
        self.lines: dict[str, Line] = {}
        self.missing: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """What the files are called; on a CPU its threads are part of the name."""
        return f"{self.part.name}-{file_name(self.about)}"

    def add(self, new: Line) -> None:
        with self._lock:
            self.lines[new.name] = new
            print(line(list(new.cells.values())), flush=True)
            self._write()

    def miss(self, title: str, reason: str) -> None:
        """Note an item that gave nothing, or nothing more."""
        with self._lock:
            self.missing[title] = reason
            print(line([title, reason]), flush=True)
            self._write()

    @property
    def summary(self) -> str:
        """How much there is: "14 passed, 1 failed, 34 needs CUDA" of checks."""
        results = [str(each.figures.get("result", "lines")) for each in self.lines.values()]
        counts = Counter([*results, *self.missing.values()])
        return ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing"

    def _write(self) -> None:
        if not self.about:  # no process has begun
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [json.dumps({"name": each.name, **each.figures}) for each in self.lines.values()]
        head = {"machine": self.about, "missing": self.missing}
        text = json.dumps(head, indent=2)[:-2] + ',\n  "lines": [\n' + ",\n".join(rows) + "\n]}\n"
        (self.folder / f"{self.name}.json").write_text(text)
        (self.folder / f"{self.name}.md").write_text("\n".join(self._page()) + "\n")

    def _page(self) -> list[str]:
        lines: list[str] = []
        if self.lines:
            columns = list(next(iter(self.lines.values())).cells)
            lines += [
                *table(columns, (list(each.cells.values()) for each in self.lines.values())),
                "",
            ]
        if self.missing:
            lines += [*table(["nothing, or nothing more, of", "because"], self.missing.items()), ""]
        measured = ", ".join(f"{key} {value}" for key, value in self.about.items())
        return [*lines, self.part.note, "", f"Measured on: {measured}."]


def file_name(about: Mapping[str, Any]) -> str:
    """Return a machine's name as that of a file: lower case, with hyphens."""
    if about["device"] == "cpu":
        return f"cpu-{about['threads']}-thread{'s' * (about['threads'] > 1)}"
    return re.sub(r"[^a-z0-9]+", "-", str(about["device"]).lower()).strip("-")

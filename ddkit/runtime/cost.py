"""What a run cost, in a sidecar beside its artifact: the same run then gives the same bytes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ddkit.runtime.files import read_json, write_json
from ddkit.runtime.machine import device_name


class Cost:
    """Seconds per stage, added up over interrupted tries, in a sidecar beside the artifact."""

    def __init__(self, folder: Path):
        self.path = folder / "cost.json"
        self.figures: dict[str, Any] = read_cost(folder)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.figures.get(f"{stage}_seconds", 0.0) + time.perf_counter() - start
            self.figures[f"{stage}_seconds"] = round(seconds, 3)
            write_json(self.path, self.figures)

    def finish(self, peak_bytes: int, device: torch.device) -> None:
        """Note what the synthesis took of which device, once all is done."""
        self.figures["synthesis_peak_bytes"] = peak_bytes
        self.figures["device"] = device_name(device)
        write_json(self.path, self.figures)


def read_cost(folder: Path) -> dict[str, Any]:
    """Return a run's cost figures; empty where there are none."""
    path = folder / "cost.json"
    return read_json(path) if path.exists() else {}

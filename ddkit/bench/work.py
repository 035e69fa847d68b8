"""What other processes do of a bench: one cell."""

from pathlib import Path
from typing import Any

from ddkit.bench.config import BenchConfig
from ddkit.bench.harness import Harness
from ddkit.runtime.progress import Progress


def measure_cell(
    progress: Progress, *, bench: dict[str, Any], folder: str, attempt: str, cell: str
) -> None:
    """Do the cell of this key of a bench, once no other process is at it."""
    Harness(BenchConfig.model_validate(bench), Path(folder), progress, attempt).do_one(cell)

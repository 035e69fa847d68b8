"""How long `ddkit --help` takes: python -m benchmarks.startup

The floor is Python starting and importing click, measured in the same run.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.writing import write

RUNS = 7


def seconds(command: list[str]) -> float:
    """Return the median wall time of a command over some runs."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    ddkit = str(Path(sys.executable).with_name("ddkit"))
    figures = {
        "ddkit --help": seconds([ddkit, "--help"]),
        "ddkit methods": seconds([ddkit, "methods"]),
        "python -c 'import click' (floor)": seconds([sys.executable, "-c", "import click"]),
    }
    write(
        "startup",
        figures,
        [(name, f"{value:.3f} s") for name, value in figures.items()],
        ["command", f"median of {RUNS}"],
    )


if __name__ == "__main__":
    main()

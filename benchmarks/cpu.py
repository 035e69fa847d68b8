"""A CPU against an earlier ddkit, and without each of what was gained: python -m benchmarks.cpu

    python -m benchmarks.cpu --before CHECKOUT [--data FOLDER_OF_CIFAR10]

An allocator belongs to its process, so that everything runs in processes of its own, in turn and
back again (A B C, C B A), of the checkout, of this one, and of this one with the system's
allocator or without kept graphs. Each figure is a median over them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.cpu_tasks import TASKS
from benchmarks.writing import write
from ddkit.runtime.sizes import readable

ROOT = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("cpu_tasks.py")
LESS = ", no graph kept"  # tasks that only this ddkit has
BARS = {"epoch": 0.7, "evaluation": 0.85, "tesla": 0.9}  # of the time before, at most
START = ["-c", "from ddkit_cli.main import main; main()", "distill", "-m", "random", "--ipc", "1"]

Figures = dict[str, list[dict[str, Any]]]


def environment(checkout: Path, cache: Path, threads: int, allocator: str) -> dict[str, str]:
    """Return the environment of a process that takes ddkit and its plugins from a checkout."""
    plugins = sorted(path.parent for path in checkout.glob("plugins/*/ddkit_*"))
    paths = [checkout, checkout / "cli", *dict.fromkeys(plugins)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "DDKIT_CACHE": str(cache),
        "OMP_NUM_THREADS": str(threads),
        "DDKIT_ALLOCATOR": allocator,
    }


def measured(task: str, way: str, before: Path, work: Path, threads: int) -> dict[str, Any]:
    """Do a task once, in a process of its own."""
    checkout = before if way == "before" else ROOT
    allocator = "system" if way == "system's allocator" else ""
    cache = work / ("before" if way == "before" else "after")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        name = task + LESS if way == "no graph kept" else task
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-P", str(CHILD), name, folder, str(threads)],
            check=True,
            text=True,
            env=environment(checkout, cache, threads, allocator),
            stdout=subprocess.PIPE,
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def started(way: str, before: Path, work: Path, data: Path, threads: int) -> dict[str, Any]:
    """Time `ddkit distill -m random` in a folder of its own, with a cache that is warm."""
    checkout, cache = (before, work / "before") if way == "before" else (ROOT, work / "after")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        command = [*START, "--data", str(data.resolve()), "-o", str(Path(folder) / "run"), "-q"]
        if way == "import torch":
            command = ["-c", "import torch"]
        began = time.perf_counter()
        subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-P", *command],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment(checkout, cache, threads, ""),
        )
        return {"seconds": time.perf_counter() - began}


def ways_of(task: str) -> list[str]:
    ways = ["before", "after"]
    if task not in ("loader", "start") and "overhead" not in task:
        ways.append("system's allocator")
    if task.startswith("tesla"):
        ways.append("no graph kept")
    return ways + ["import torch"] * (task == "start")


def median_of(found: Figures, way: str, figure: str = "seconds") -> float:
    return statistics.median(each[figure] for each in found[way])


def row(task: str, threads: int, found: Figures) -> tuple[str, ...]:
    seconds = {way: median_of(found, way) for way in found}
    unit, factor = ("µs", 1e6) if "overhead" in task else ("s", 1.0)

    def against(way: str) -> str:
        return f"{seconds[way] / seconds['before']:.2f}" if way in seconds else ""

    bar = next((bar for name, bar in BARS.items() if task.startswith(name)), None)
    peaks = [
        median_of(found, way, "peak_bytes")
        for way in ("before", "after")
        if "peak_bytes" in found[way][0]
    ]
    return (
        task,
        str(threads),
        f"{seconds['before'] * factor:.3g} {unit}",
        f"{seconds['after'] * factor:.3g} {unit}",
        against("after"),
        "" if bar is None else f"{bar}",
        against("system's allocator"),
        against("no graph kept"),
        f"{readable(peaks[0])}, × {peaks[1] / peaks[0]:.2f}" if peaks else "",
    )


@click.command(help=__doc__)
@click.option(
    "--before",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="The root of an earlier checkout.",
)
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="Of `distill -m random`."
)
@click.option("--rounds", default=4, show_default=True, help="Even: half of them backwards.")
@click.option("--only", help="Tasks whose names begin so.")
@click.option("--threads", "counts", type=int, multiple=True, default=(1, 2), show_default=True)
def main(
    before: Path, data: Path | None, rounds: int, only: str | None, counts: tuple[int, ...]
) -> None:
    tasks = [task for task in TASKS if not task.endswith(LESS)] + ["start"] * (data is not None)
    figures: dict[str, Any] = {}
    rows = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="ddkit-cpu-") as name:
        work, begun = Path(name), before.resolve()
        for task in [task for task in tasks if task.startswith(only or "")]:
            for threads in counts if task != "start" else counts[-1:]:
                ways = ways_of(task)
                found: Figures = {way: [] for way in ways}
                for number in range(-(task == "start"), rounds):  # the first fills the caches
                    for way in ways if number % 2 == 0 else reversed(ways):
                        if task == "start" and data is not None:
                            result = started(way, begun, work, data, threads)
                        else:
                            result = measured(task, way, begun, work, threads)
                        found[way] += [result] * (number >= 0)
                figures[f"{task}, {threads} threads"] = found
                rows.append(row(task, threads, found))
                print(*rows[-1], sep=" | ", flush=True)
    about = {"load average": [load, os.getloadavg()[0]], "figures": figures}
    write(
        "cpu_gains",
        about,
        rows,
        [
            "what",
            "threads",
            "before",
            "after",
            "after / before",
            "at most",
            "system's allocator",
            "no graph kept",
            "peak RSS before, after / before",
        ],
        f"{rounds} processes for each, in turn and back; medians. The last columns but one are "
        "times without one of the gains, against before. Load average "
        f"{load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end.",
    )


if __name__ == "__main__":
    main()

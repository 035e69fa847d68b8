"""Several processes at one bench, each with its own cells: small networks leave cores idle."""

import os
import signal
import threading
import time
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from ddkit.bench.config import BenchConfig
from ddkit.bench.harness import Harness, cell_key
from ddkit.runtime import interrupt
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.units import Executor, Job, Unit
from ddkit.runtime.interrupt import Stopped, stop_requested, stopping_on_signals
from ddkit.runtime.machine import available_cores
from ddkit.runtime.progress import Progress, Task

POLL_SECONDS = 0.5


def run_workers(bench: BenchConfig, folder: Path, workers: int, progress: Progress) -> list[str]:
    """Run a bench in `workers` processes; return one line for each cell that failed.

    A worker that is killed leaves its cell to the others; all stop with the process that calls.

    Raises:
        DdkitError: the bench cannot be run at all, or no worker was left to finish it.
        Stopped: on request.
    """
    harness = Harness(bench, folder, progress)  # what is wrong with the bench is found here
    if workers == 1:
        return harness.run()
    cells = harness.prepare()
    context = get_context("spawn")
    processes: list[BaseProcess] = [
        context.Process(
            target=_work, args=(bench, folder, harness.attempt, os.getpid()), daemon=True
        )
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    with progress.task("cells", len(cells), 0) as bar:
        done = 0
        while any(process.is_alive() for process in processes):
            time.sleep(POLL_SECONDS)
            if stop_requested():
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.join()
                raise Stopped
            finished = len(harness.finished(cells))
            bar.advance(finished - done)
            done = finished
    return harness.run()  # nothing is left, but what a killed worker was at


def run_units(
    bench: BenchConfig, folder: Path, executor: Executor, progress: Progress
) -> list[str]:
    """Run a bench with a unit of work for each cell; return one line for each that failed.

    Raises what `run_workers` raises.
    """
    harness = Harness(bench, folder, progress)
    wanted = harness.prepare()
    device = wanted[0].config.device  # here: other machines may have no GPU, or one more
    known = bench.model_copy(update={"device": device}).model_dump(mode="json")
    common = {"bench": known, "folder": str(folder.absolute()), "attempt": harness.attempt}
    function = "ddkit.bench.workers:measure_cell"
    job = Job("cells", function, common, bench.threads, gpu=device != "cpu")

    def here(key: str, bar: Task) -> None:
        harness.do_one(key)
        bar.advance()

    units = []
    for cell in wanted:
        if not harness.figures.complete(cell):
            key = cell_key(bench, cell)
            units.append(Unit(cell.title, partial(here, key), {"cell": key}))
    executor.run(job, units, progress, len(wanted) - len(units))
    return harness.run()  # nothing is left: it says what failed


def measure_cell(
    progress: Progress, *, bench: dict[str, Any], folder: str, attempt: str, cell: str
) -> None:
    """Do the cell of this key of a bench, once no other process is at it."""
    Harness(BenchConfig.model_validate(bench), Path(folder), progress, attempt).do_one(cell)


def default_workers(bench: BenchConfig) -> int:
    """Return a process per core, or one where a GPU does the work."""
    gpu = torch.cuda.is_available() if bench.device is None else bench.device != "cpu"
    return 1 if gpu else available_cores()


def _work(bench: BenchConfig, folder: Path, attempt: str, parent: int) -> None:
    """Do cells in a process of its own, until all are done or the parent is gone."""
    with stopping_on_signals():
        # a request from before the block would be forgotten, of a parent that is gone by now
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C: the parent passes it on
        try:
            Harness(bench, folder, attempt=attempt).run()
        except (Stopped, DdkitError):
            return  # the parent meets what is wrong itself


def _watch(parent: int) -> None:
    """Ask this process to stop when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    interrupt.request_stop()

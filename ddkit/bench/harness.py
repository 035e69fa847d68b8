"""Does what a bench asks for and the store lacks; stopped or killed, it goes on where it was."""

import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from ddkit.bench.cells import Cell, cells, make_cell, pace_key, run_key
from ddkit.bench.config import NONE, BenchConfig
from ddkit.bench.continual import ContinualFigures
from ddkit.bench.figures import Figures
from ddkit.bench.pace import steps_within
from ddkit.bench.store import Store
from ddkit.data.access import keeping_splits
from ddkit.distilled.writing import versions
from ddkit.pipeline.prepare import device_of
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.errors import Busy, DdkitError, cause
from ddkit.runtime.files import locked, write_text
from ddkit.runtime.interrupt import Stopped, check_stop
from ddkit.runtime.progress import Progress, Silent

POLL_SECONDS = 1.0


class Harness:
    """One bench in a folder: its store, its runs, and what is left to do."""

    def __init__(
        self,
        bench: BenchConfig,
        folder: Path,
        progress: Progress | None = None,
        attempt: str | None = None,
    ):
        """Open the store; `attempt` is shared by workers: what failed in it is not tried again."""
        check_options(bench)
        self.attempt = attempt or uuid4().hex
        self.bench = bench
        self.folder = folder
        self.progress = progress or Silent()
        self.store = Store(folder)
        self.figures = figures_of(bench, folder, self.store, self.progress)

    def run(self) -> list[str]:
        """Do all cells that are not done; return one line for each that failed.

        Several processes may work on one bench: each does cells that no other one is at.

        Raises:
            DdkitError: the bench itself is wrong, or its folder or store cannot be used.
            Stopped: on request; what was finished is stored.
        """
        with keeping_splits():
            wanted = left = self.prepare()
            while left:
                busy = [cell for cell in left if not self.attempted(cell)]
                if len(busy) == len(left):
                    check_stop()
                    time.sleep(POLL_SECONDS)
                left = busy
        found = [self.store.get("cell", cell_key(self.bench, cell)) for cell in wanted]
        return [
            f"{cell.title}: {entry.error}"
            for cell, entry in zip(wanted, found, strict=True)
            if entry and entry.error
        ]

    def prepare(self) -> list[Cell]:
        """Note what is asked for, and return all cells, with the steps that a budget allows."""
        about = self.bench.model_dump(mode="json")
        self.store.put("bench", stable_hash(about), about, versions())
        return cells(self.bench, self._paces())

    def finished(self, wanted: list[Cell]) -> list[Cell]:
        """Return the cells that were done, or failed, in this bench or an earlier one."""
        keys = {entry.key for entry in self.store.all("cell")}
        return [cell for cell in wanted if cell_key(self.bench, cell) in keys]

    def do_one(self, key: str) -> None:
        """Do the cell of this `cell_key`, once no other process is at it.

        Raises `DdkitError` where this machine knows no such cell.
        """
        known = cells(self.bench, settled_paces(self.bench, self.store))
        cell = next((cell for cell in known if cell_key(self.bench, cell) == key), None)
        if cell is None:
            raise DdkitError(
                f"the bench in {self.folder} has no cell {key} here: ddkit and its plugins must be "
                "the same on all machines"
            )
        while not self.attempted(cell):
            time.sleep(POLL_SECONDS)

    def attempted(self, cell: Cell) -> bool:
        """Do a cell; return False where another process is at it."""
        key = cell_key(self.bench, cell)
        check_stop()
        try:
            with locked(self.folder / "locks" / key, "the cell"):
                self._do(cell, key)
        except Busy:
            return False
        return True

    def _do(self, cell: Cell, key: str) -> None:
        failed = self.store.get("cell", key)
        if failed and failed.error and failed.about.get("attempt") == self.attempt:
            return
        if self.figures.complete(cell):
            if failed and failed.error:  # in what is not asked for any more
                self.store.put("cell", key, cell.about(), {"seconds": 0.0})
            return
        self.progress.note(cell.title)
        began = time.perf_counter()
        try:
            self.figures.measure(cell)
        except (Stopped, Busy):
            raise
        except Exception as error:
            line = cause(error)
            if not isinstance(error, DdkitError):  # a bug: its traceback is kept for who mends it
                path = self.folder / "failures" / f"{key}.txt"
                write_text(path, traceback.format_exc())
                line = f"{line}; see {path}"
            self.store.fail("cell", key, cell.about() | {"attempt": self.attempt}, line)
            self.progress.note(f"failed: {line}")
        else:
            seconds = time.perf_counter() - began
            self.store.put("cell", key, cell.about(), {"seconds": round(seconds, 3)})

    def _paces(self) -> dict[str, int]:
        """Return how many steps each method gets, where the bench has a time budget."""
        minutes = self.bench.budget_minutes
        if minutes is None:
            return {}
        for cell, _, key in paced(self.bench):
            with locked(self.folder / "locks" / stable_hash(key), "the pace", wait=True):
                if self.store.result("settled", key) is None:
                    steps = steps_within(cell, minutes, self.progress)
                    self.store.put("settled", key, {"minutes": minutes}, {"steps": steps})
        return settled_paces(self.bench, self.store)


def figures_of(bench: BenchConfig, folder: Path, store: Store, progress: Progress) -> Figures:
    """Return the figures of a bench's task."""
    kind = ContinualFigures if bench.task == "continual" else Figures
    return kind(bench, folder, store, progress)


def paced(bench: BenchConfig) -> Iterator[tuple[Cell, str, str]]:
    """Serve what has a pace of its own: (cell, `pace_key`, key in the store)."""
    for data in bench.data:
        for ipc in bench.ipc:
            for name in bench.methods:
                cell = make_cell(bench, name, data, ipc, 0, {})
                key = f"{name} {run_key(cell.config)} {bench.budget_minutes:g}"
                yield cell, pace_key(name, data, ipc), key


def settled_paces(bench: BenchConfig, store: Store) -> dict[str, int]:
    """Return how many steps each method gets, as far as that was measured."""
    if bench.budget_minutes is None:
        return {}
    found = {name: store.result("settled", key) for _, name, key in paced(bench)}
    return {name: result["steps"] for name, result in found.items() if result and result["steps"]}


def check_options(bench: BenchConfig) -> None:
    """Raise `DdkitError` for wrong options of methods, or a wrong device, before all work."""
    chosen = () if bench.selection == NONE else (bench.selection,)
    changes = {"methods": (*bench.methods, *chosen), "seeds": 1}
    for cell in cells(bench.model_copy(update=changes)):
        device_of(cell.config)


def cell_key(bench: BenchConfig, cell: Cell) -> str:
    """Return a key of what a cell is and of how it is measured."""
    return stable_hash([run_key(cell.config), cell.method, bench.task])

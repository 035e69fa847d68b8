"""Units as Ray tasks: on this machine or on a cluster whose machines see the same folders.

Only what is lost with a worker or a machine is begun again, elsewhere, from the unit's checkpoint.
An error of a unit is the run's error, as it would be here.
"""

import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ddkit.runtime.cache import cache_folder, stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.reports import Board, Display, reporting
from ddkit.runtime.execution.units import Job, Unit
from ddkit.runtime.files import locked
from ddkit.runtime.interrupt import Stopped, stop_requested, stopping_on_signals
from ddkit.runtime.machine import available_cores
from ddkit.runtime.progress import Progress

POLL_SECONDS = 0.5
LOST_AT_MOST = 5  # times that a unit is begun again, so that one that always dies comes to an end
STORE_BYTES = 80 * 2**20  # units exchange files, not objects: about the least that Ray accepts
CONNECT_SECONDS = 10.0
STOPPED = "stopped"


@contextmanager
def connected(address: str | None) -> Iterator["Ray"]:
    """Connect to a cluster, or start Ray on this machine, for the time of the block.

    A connection that this process already has is used, and kept.

    Raises `DdkitError` where no cluster answers.
    """
    own = not ray.is_initialized()
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        start = {"num_cpus": available_cores(), "object_store_memory": STORE_BYTES}
        asked = {"address": "local", **start} if address is None else {"address": address}
        try:
            _check_answers(address)
            ray.init(
                **asked, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        except (OSError, RuntimeError, ValueError, RayError) as error:
            where = "on this machine" if address is None else f"at {address}"
            reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
            raise DdkitError(f"no Ray {where}: {reason}; see docs/scale.md") from error
    executor = Ray()
    try:
        yield executor
    finally:
        ray.kill(executor.board)
        if own:
            ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Raise at once where Ray itself would try for minutes; `ValueError` or `OSError`."""
    if address is None or address == "auto":
        return
    if "://" in address:
        raise ValueError("run ddkit on a machine of the cluster, with --address auto")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("an address is HOST:PORT, or auto")
    socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


class Ray:
    """Does units as Ray tasks, as many at once as the cluster has room for."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # one for all jobs: a process of its own takes seconds to start
        self.board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()

    def run(self, job: Job, units: Sequence[Unit], progress: Progress, done: int = 0) -> None:
        """Do all units, as `Executor.run` says.

        Raises `DdkitError` also where no machine is large enough for a unit.
        """
        room = room_for(job)
        if room == 1 and len(units) > 1:
            progress.note(f"one unit at a time: each takes {job.threads} CPUs (--threads)")
        if units and not room:
            needed = f"{job.threads} CPUs (--threads)" + (" and a GPU" if job.gpu else "")
            raise DdkitError(f"a unit needs {needed}, and no machine of the Ray cluster has that")
        total = done + sum(unit.size for unit in units)
        with progress.task(job.title, total, done) as bar, closing(Display(progress, bar)) as shown:
            _Work(self.board, job, units, progress, shown).do()


class _Work:
    """The units of one job on their way."""

    def __init__(
        self, board: Any, job: Job, units: Sequence[Unit], progress: Progress, display: Display
    ):
        self.units = units
        self.job = job
        self.waiting = list(range(len(units)))
        self.running: dict[Any, int] = {}
        self.finished = 0  # the sizes of those that are, added up
        self.failure: Exception | None = None
        self._progress = progress
        self._display = display
        cache = cache_folder("").absolute()
        cache.mkdir(parents=True, exist_ok=True)
        self._place = {"cache": str(cache), "folder": str(Path.cwd())}
        self._board = board
        # a process that stays holds memory of the GPU that Ray gives to another one
        task = ray.remote(max_calls=1)(perform) if job.gpu else ray.remote(perform)
        self._task = task.options(
            num_cpus=job.threads, num_gpus=int(job.gpu), max_retries=LOST_AT_MOST, name=job.title
        )

    def do(self) -> None:
        """Do all units; raises what `Ray.run` says."""
        self._board.clear.remote()
        stopping = False
        while self.running or (self.waiting and not stopping):
            if not stopping:
                self._begin()
            self._wait()
            if not stopping and (stop_requested() or self.failure):
                self._board.stop.remote()
                stopping = True
        if self.failure:
            raise self.failure
        if self.waiting:
            raise Stopped

    def _begin(self) -> None:
        """Begin units as long as there is room: what queues at Ray cannot be called back."""
        pending = {self.units[number].name for number in (*self.waiting, *self.running.values())}
        room = max(1, room_for(self.job))  # none for now, if machines are lost: Ray waits for them
        for number in list(self.waiting):
            if len(self.running) >= room:
                return
            unit = self.units[number]
            if pending.isdisjoint(unit.after):
                arguments = {**self.job.arguments, **unit.arguments}
                ref = self._task.remote(
                    self.job.function, arguments, self._place, self._board, number
                )
                self.running[ref] = number
                self.waiting.remove(number)

    def _wait(self) -> None:
        """Wait a moment for units that end, and show what the others say."""
        ended, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL_SECONDS)
        for ref in ended:
            self._end(ref, self.running.pop(ref))
        reports, notes = ray.get(self._board.read.remote(list(self.running.values())))
        for note in notes:
            self._progress.note(note)
        sized = {number: (self.units[number].size, report) for number, report in reports.items()}
        self._display.update(self.finished, sized)

    def _end(self, ref: Any, number: int) -> None:
        """Note how a unit ended."""
        try:
            outcome = ray.get(ref)
        except RayTaskError as error:  # a bug: its traceback is kept
            self.failure = self.failure or error
        except RayError as error:
            lost = f"{self.job.title} {self.units[number].name}"
            self.failure = self.failure or DdkitError(
                f"{lost} was repeatedly lost with its worker ({type(error).__name__}): check the "
                "memory of the machines; what was done is kept"
            )
        else:
            if outcome == STOPPED:  # by us, or its machine was told to stop and others go on
                self.waiting.insert(0, number)
            elif outcome is None:
                self.finished += self.units[number].size
            else:
                self.failure = self.failure or DdkitError(outcome)


def room_for(job: Job) -> int:
    """Return how many units of a job fit on the cluster's machines at once."""
    rooms = [0]
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            room = has.get("CPU", 0) // job.threads
            rooms.append(int(min(room, has.get("GPU", 0)) if job.gpu else room))
    return sum(rooms)


def perform(
    function: str, arguments: Mapping[str, Any], place: Mapping[str, str], board: Any, number: int
) -> str | None:
    """Do a unit in a worker; return None, `STOPPED`, or the line of a `DdkitError`.

    Errors come back as text: Ray would wrap them in the traceback of this process.
    """
    try:
        _go_to(place)
        # a lost worker may live on for a moment: who takes over waits until it is gone
        lock = cache_folder("locks") / stable_hash([function, arguments])
        with (
            stopping_on_signals(),
            reporting(board, number) as progress,
            locked(lock, "the unit", wait=True),
        ):
            resolve_name(function)(progress, **arguments)
        shutil.rmtree(lock, ignore_errors=True)
    except Stopped:
        return STOPPED
    except DdkitError as error:
        return str(error)
    return None


def _go_to(place: Mapping[str, str]) -> None:
    """See the driver's folders, by the same names; raises `DdkitError` where they are not here."""
    for folder in place.values():
        if not Path(folder).is_dir():
            raise DdkitError(
                f"the machine {os.uname().nodename} has no folder {folder}: all machines must "
                "share the folders of runs, of the cache (DDKIT_CACHE) and of the data"
            )
    os.environ["DDKIT_CACHE"] = place["cache"]
    os.chdir(place["folder"])

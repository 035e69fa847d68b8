"""Items done in processes of their own: one that dies or hangs costs its own line and no other."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.device.parts import Bench, Line, Part, part_in
from benchmarks.device.report import Report
from benchmarks.writing import machine
from ddkit.runtime.machine import device_name

PATIENCE = 20.0  # seconds that an item may take beside a multiple of its own
NEEDS_CUDA = "needs CUDA"
TIME_UP = "the time was up"


class LostError(Exception):
    """The process that did an item is of no more use."""


class MissedError(Exception):
    """An item failed; its process does the next one."""


@dataclass(frozen=True)
class End:
    """What a process says when an item is over: why it failed, and whether it can go on."""

    reason: str | None
    usable: bool


def perform(part: Part, bench: Bench, report: Report, ends: float, threads: int = 1) -> None:
    """Do the items of a part, each lane in a process, until `ends` (of the monotonic clock)."""
    with ThreadPoolExecutor(len(part.lanes)) as pool:
        lanes = [
            Lane(part, number, bench, report, ends, threads) for number in range(len(part.lanes))
        ]
        try:
            list(pool.map(Lane.follow, lanes))
        finally:
            for lane in lanes:
                lane.stop()


class Lane:
    """The items of one lane, and the process that does them."""

    def __init__(
        self, part: Part, number: int, bench: Bench, report: Report, ends: float, threads: int
    ):
        self.part, self.number, self.bench = part, number, bench
        self.report, self.ends, self.threads = report, ends, threads
        self.process: multiprocessing.process.BaseProcess | None = None
        self.connection: Connection

    def follow(self) -> None:
        """Do item by item, and report every line and every failure."""
        items = self.part.lanes[self.number]
        for index, item in enumerate(items):
            try:
                for line in self._lines(index, sum(each.seconds for each in items[index:])):
                    self.report.add(line)
            except MissedError as reason:
                self.report.miss(item.title, str(reason))
            except LostError as reason:
                self.report.miss(item.title, str(reason))
                self.stop()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def _lines(self, index: int, rest: float) -> Iterator[Line]:
        """Serve the lines of an item; `rest` is what it and all after it take on an H100."""
        item = self.part.lanes[self.number][index]
        if item.cuda and not self.bench.cuda:
            raise MissedError(NEEDS_CUDA)
        if self._left() <= 0:
            raise MissedError(TIME_UP)
        self._start()
        allowed = self._left()
        if self.bench.cuda:
            allowed = min(allowed, PATIENCE + self.part.patience * item.seconds)
        over = time.monotonic() + allowed
        self.connection.send((index, self._left() * item.seconds / rest))
        while not isinstance(told := self._told(over), End):
            yield told
        if not told.usable:
            raise LostError(told.reason or "the device answers no more")
        if told.reason is not None:
            raise MissedError(told.reason)

    def _start(self) -> None:
        """Start the process, unless it is there, and wait until it is ready."""
        if self.process is not None:
            return
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self.part.module, self.number, self.bench, self.threads)
        self.process = context.Process(target=work, args=arguments)
        self.process.start()
        theirs.close()
        self.report.about.update(self._told(self.ends))

    def _told(self, over: float) -> Any:
        """Return what the process says next; raises `LostError` where it says nothing in time."""
        if not self.connection.poll(max(0.0, over - time.monotonic())):
            raise LostError(TIME_UP if self._left() <= 0 else "it hung, and was ended")
        try:
            return self.connection.recv()
        except EOFError:
            assert self.process is not None
            self.process.join()
            raise LostError(f"its process died (exit code {self.process.exitcode})") from None

    def _left(self) -> float:
        return self.ends - time.monotonic()


def work(connection: Connection, module: str, lane: int, bench: Bench, threads: int) -> None:
    """Do the items that are asked for by number, in a process of its own."""
    torch.set_num_threads(threads)
    items = part_in(module).lanes[lane]
    connection.send(about(bench))
    usable = True
    while usable:
        try:
            index, seconds = connection.recv()
        except EOFError:
            return
        reason = None
        try:
            for line in items[index].work(bench, seconds):
                connection.send(line)
        except Exception as error:  # whatever it is, the other items are still of use
            reason = described(error)
        usable = settle(bench.device)
        connection.send(End(reason, usable))


def about(bench: Bench) -> dict[str, Any]:
    """Return what a part's figures depend on."""
    load = f"{os.getloadavg()[0]:.1f}"
    sizes = "tiny" if bench.small else "full"
    return {**machine(), "device": device_name(bench.device), "load average": load, "sizes": sizes}


def settle(device: torch.device) -> bool:
    """Give back memory; return whether the device still answers, which a fault in a kernel ends."""
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
        except RuntimeError:
            return False
    return True


def described(error: BaseException) -> str:
    """Return an error as one line: its kind, what it says, and where ddkit or a check raised it."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "ddkit" in file or "benchmarks" in file:
            place = f" ({file.rsplit('/', 1)[-1]}:{trace.tb_lineno})"
        trace = trace.tb_next
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}{place}"

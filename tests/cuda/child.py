"""Does small runs on the made-up device, in a process of its own, and reports what was noted.

Reads requests from its input, one JSON object a line, and answers each with one. A request is a run
("method" and what else `Request` holds) or a few lines of Python ("code"). By hand, in a folder to
throw away, with the stubs of `made_up`:

    echo '{"method": "dm", "settings": "updates=2"}' |
        LD_PRELOAD=/tmp/libcuda.so.1 PYTHONPATH=…/tests/cuda python -P -m child
"""

import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Any
from unittest import mock
from weakref import WeakSet

import torch
from made_up import MadeUpDevice

import ddkit
from ddkit.config import RunConfig
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import evaluate_with, open_test, protocol_for
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import plan as planning
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request as Asked
from ddkit.pipeline.resolve import resolve
from ddkit.runtime import interrupt
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.progress import Silent
from ddkit.synthesis import engine as synthesis
from ddkit.synthesis.leaves import LeafState
from ddkit.testing import made_up_split
from ddkit.training import loop as training

DATA = "tiny"


@dataclass
class Request:
    """A small run.

    Attributes:
        method, network, flags, data: as of `ddkit distill`.
        settings: as for `--set`, apart by spaces.
        relabel_from: whose labels.
        stopped: whether the run is done once more, stopped and gone on with wherever it can be.
        protocols: by which networks are trained on the set, in turn and as one batched network.
        compared: whether the set is compared with random images and all real data.
        planned: whether it is rehearsed what the run will take.
        free: bytes that are free on the device.
    """

    method: str
    settings: str = ""
    network: str = "convnet:depth=2:width=8"
    flags: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    relabel_from: str | None = None
    stopped: bool = False
    protocols: list[str] = field(default_factory=list)
    compared: bool = False
    planned: bool = False
    free: int = 10**11

    def config(self) -> RunConfig:
        common = {
            "ipc": 2,
            "threads": 1,
            "device": "cuda",
            "precision": "fp32",
            "network": self.network,
            **self.flags,
        }
        return resolve(
            Asked(
                self.method,
                common,
                {"name": DATA, **self.data},
                self.settings.split(),
                "none",
                {"relabel": self.relabel_from},
            )
        )


def performed(request: Request, folder: Path) -> dict[str, Any]:
    """Do a run and what follows it; return what was found."""
    config = request.config()
    artifact = pipeline.distill(config, folder / "run")
    found: dict[str, Any] = {"bytes": [digest(artifact)]}
    if request.stopped:
        again, found["stops"] = distilled_with_stops(config, folder / "stopped")
        found["bytes"].append(digest(again))
    run = prepare(config, folder / "run")
    data = (load(artifact), open_test(run), config.network, [0, 1], run.device)
    found["evaluated"] = [
        [
            evaluate_with(
                protocol_for(name).with_recipe(epochs=2), *data, together=at_once
            ).to_json()
            for at_once in (False, True)
        ]
        for name in request.protocols
    ]
    if request.planned:
        found["planned"] = planning.plan(config, Data(36, 3, (1, 8, 8))).seconds
    if request.compared:
        rows = ddkit.evaluate(artifact, seeds=1, epochs=1)
        found["compared"] = [row.title for row in rows]
    return found


class Stopping(Silent):
    """Asks for a stop wherever work has come further than it was."""

    def __init__(self) -> None:
        self.furthest: dict[str, int] = {}

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator["Stopping"]:
        self.name, self.done = name, done
        yield self

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        if self.done > self.furthest.get(self.name, 0):
            self.furthest[self.name] = self.done
            interrupt.request_stop()


def distilled_with_stops(config: RunConfig, folder: Path) -> tuple[Path, int]:
    """Distil with a pool of its own, stopped wherever it can be; return how often it was."""
    stopping = Stopping()
    stops = 0
    with mock.patch.dict(os.environ, {"DDKIT_CACHE": str(folder / "cache")}):
        while True:
            try:
                return pipeline.distill(config, folder / "run", stopping), stops
            except Stopped:
                stops += 1
            finally:
                interrupt._requested.clear()


def digest(path: Path) -> str:
    return blake2b(path.read_bytes(), digest_size=8).hexdigest()


# steps are told apart by who calls them: a first one may bring to the device what stays there

_step = synthesis.take_step
_begun: WeakSet[LeafState] = WeakSet()
_later: list[None] = []  # one for each


def first_step(*args: Any) -> torch.Tensor:
    return _step(*args)


def later_step(*args: Any) -> torch.Tensor:
    _later.append(None)
    return _step(*args)


@contextmanager
def prepared() -> Iterator[None]:
    """Tell steps apart, and let no clock decide when a loss is looked at."""

    def step(*args: Any) -> torch.Tensor:
        leaf = next(iter(next(value for value in args if isinstance(value, dict)).values()))
        taken = later_step if leaf in _begun else first_step
        _begun.add(leaf)
        return taken(*args)

    with (
        mock.patch.object(synthesis, "take_step", step),
        mock.patch.object(synthesis, "SHOW_SECONDS", inf),
        mock.patch.object(training, "CHECK_SECONDS", inf),
    ):
        yield


def report(device: MadeUpDevice, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what was found, and what the device noted meanwhile."""
    device.forget()
    _later.clear()
    began = time.process_time()
    found, error = {}, None
    try:
        if "code" in values:
            exec(compile(values["code"], "code", "exec"), {"device": device, "torch": torch})  # noqa: S102
        else:
            request = Request(**values)
            device.runtime.free = request.free
            found = performed(request, folder)
    except Exception as raised:  # whatever the code under test may raise
        error = "".join(traceback.format_exception(raised, limit=-8))
    return {
        "seconds": time.process_time() - began,
        "found": found,
        "error": error,
        "later_steps": len(_later),
        "faults": device.faults,
        "waits": listed(device.waits),
        "atomics": listed(device.atomics),
        "roundings": listed(device.roundings),
    }


def listed(events: Counter[Any]) -> list[dict[str, Any]]:
    return [{**vars(event), "times": times} for event, times in events.items()]


def main(folder: Path, lines: Any) -> None:
    train, test = (made_up_split(each=12, seed=seed) for seed in (0, 1))
    ddkit.register_data(DATA, (train.images, train.labels), (test.images, test.labels))
    with MadeUpDevice() as device, prepared():
        for number, line in enumerate(lines):
            answer = report(device, json.loads(line), folder / f"request-{number}")
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path.cwd(), sys.stdin)

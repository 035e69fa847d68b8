"""A made-up CUDA device (made_up.py) in a process of its own, which does small runs and reports.

The process starts when the first test asks, and serves all tests of this folder.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
Ask = Callable[..., "Report"]


class Lines(list[str]):
    """What was noted; its text, for a test that fails, has a line for each."""

    def __str__(self) -> str:
        return "\n".join(["", *self])

    def without(self, word: str) -> "Lines":
        return Lines(line for line in self if word not in line)


class Report:
    """What the device noted during a run (`child.Request`) or a few lines of Python.

    Attributes:
        error: the traceback of what ended it, or None.
        faults: what CUDA would have refused, also where someone caught it.
        found: what came of a run.
        later_steps: how many steps of images were taken that were not the first.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer
        self.error: str | None = answer["error"]
        self.faults: list[str] = answer["faults"]
        self.found: dict[str, Any] = answer["found"]
        self.later_steps: int = answer["later_steps"]

    def waits(self, *within: str, but: Sequence[str] = ()) -> Lines:
        """Return where the host waited within functions, but for those within one of others."""
        return self._lines("waits", within, but)

    def atomics(self, *within: str) -> Lines:
        """Return where bytes depend on the order in which threads come."""
        return self._lines("atomics", within)

    def roundings(self, *within: str) -> Lines:
        """Return products and convolutions, and how they round."""
        return self._lines("roundings", within)

    def times_waited(self, *within: str) -> int:
        """Return how often the host waited within functions."""
        return sum(event["times"] for event in self._events("waits", within))

    def _lines(self, kind: str, within: Sequence[str], but: Sequence[str] = ()) -> Lines:
        times: Counter[str] = Counter()
        for event in self._events(kind, within, but):
            called = " > ".join(event["within"][-4:])
            times[f"{event['what']}, at {event['where']} ({called})"] += event["times"]
        return Lines(f"{number} × {line}" for line, number in times.items())

    def _events(
        self, kind: str, within: Sequence[str], but: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        return [
            event
            for event in self._answer[kind]
            if set(within) <= set(event["within"]) and not set(but) & set(event["within"])
        ]


@pytest.fixture
def report(request, made_up) -> Report:
    """The report of a run that a test is parametrised with, by `indirect`."""
    return made_up(**request.param)


@pytest.fixture
def whole(report) -> Report:
    """The report of a run that came to its end; where one did not, another test says so."""
    if report.error:
        pytest.skip("it did not run to its end")
    return report


@pytest.fixture(scope="session")
def stubs(tmp_path_factory) -> Path:
    """The driver's and the runtime's, compiled. Skips, or with DDKIT_REQUIRE_CUDA_TESTS fails."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    missing = "no CUDA build of torch" if torch.version.cuda is None else "no C compiler"
    if torch.version.cuda is None or compiler is None:
        if os.environ.get("DDKIT_REQUIRE_CUDA_TESTS"):
            pytest.fail(f"DDKIT_REQUIRE_CUDA_TESTS is set, and there is {missing}")
        pytest.skip(missing)
    library = tmp_path_factory.mktemp("stubs") / "libcuda.so.1"
    flags = ("-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1")
    subprocess.run([compiler, *flags, "-o", library, HERE / "stubs.c"], check=True)
    return library


@pytest.fixture(scope="session")
def made_up(stubs, tmp_path_factory) -> Iterator[Ask]:
    """Return a function that does a run, or lines of Python, on the device, and reports; once."""
    folder = tmp_path_factory.mktemp("made-up")
    environment = {
        **os.environ,
        "LD_PRELOAD": str(stubs),
        "PYTHONPATH": str(HERE),
        "OMP_NUM_THREADS": "1",
        "DDKIT_CACHE": str(folder / "cache"),
        "PYTHONWARNINGS": "ignore",
    }
    errors = folder / "errors"
    reports: dict[str, Report] = {}
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "child"],
            cwd=folder,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        ) as child,
    ):

        def ask(**request: Any) -> Report:
            line = json.dumps(request)
            if line not in reports:
                print(line, file=child.stdin, flush=True)
                answer = child.stdout.readline()
                assert answer, f"the process of the made-up device ended: {errors.read_text()}"
                reports[line] = Report(json.loads(answer))
            return reports[line]

        yield ask
        child.kill()

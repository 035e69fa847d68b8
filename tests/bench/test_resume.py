"""A bench that is killed, stopped or started twice ends with the figures of one left alone."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddkit.bench.results import read_results
from ddkit.bench.store import Store
from ddkit.runtime.errors import DdkitError

WANTED = ("-m", "random,slow", "--seeds", "2", "--epochs", "10")
SLOW = {"STEP_SECONDS": "0.1"}  # 1.5 s for a set


def figures(folder: Path) -> list[Any]:
    """Return all that a bench measured, but for times: they differ."""
    store = Store(folder, create=False)
    rows = [
        (row.method, row.accuracy, row.random, row.over_random, row.p_random)
        for row in read_results(store).rows
    ]
    reached = {e.key: e.result["evaluation"]["accuracies"] for e in store.evaluated("figure")}
    return [sorted(rows), reached]


def evaluations(folder: Path) -> dict[str, Any]:
    """Return the finished figures with their times: one that is repeated takes another time."""
    store = Store(folder, create=False)
    return {entry.key: (entry.at, entry.result) for entry in store.evaluated("figure")}


def wait_until(condition: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.is_alive(), process.errors.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has(folder: Path, count: int) -> Callable[[], bool]:
    """Return a function that says whether so many evaluations are finished."""

    def condition() -> bool:
        try:
            return len(evaluations(folder)) >= count
        except DdkitError:  # there is no store yet
            return False

    return condition


@pytest.fixture
def undisturbed(slow_here, benched, tmp_path) -> list[Any]:
    """Return the figures of a bench that was left alone."""
    code, _, err = benched(*WANTED, "-o", "undisturbed")
    assert code == 0, err
    (tmp_path / "syntheses").unlink()
    found = figures(tmp_path / "undisturbed")
    assert len({str(accuracies) for accuracies in found[1].values()}) > 2  # they can be told apart
    return found


def test_killed_or_stopped_it_goes_on_and_repeats_nothing(
    undisturbed, forked_bench, benched, tmp_path
):
    folder = tmp_path / "bench"
    process = forked_bench(*WANTED, "-o", "bench", **SLOW)
    wait_until(has(folder, 1), process)
    time.sleep(0.1)
    process.kill()
    process.join()
    first = evaluations(folder)

    process = forked_bench(*WANTED, "-o", "bench", **SLOW)
    wait_until(has(folder, len(first) + 1), process)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.join(60)
    err = process.errors.read_text()
    assert process.exitcode == 130
    assert "the same command continues from there" in err
    assert "ddkit bench" in err
    assert "Traceback" not in err
    second = evaluations(folder)
    assert first.items() < second.items()
    assert len(second) < len(undisturbed[1])  # it was stopped in the middle

    code, _, err = benched(*WANTED, "-o", "bench")
    assert code == 0, err
    assert second.items() <= evaluations(folder).items()
    assert figures(folder) == undisturbed


@pytest.mark.slow
def test_two_benches_on_one_folder_share_the_work(undisturbed, start, tmp_path):
    both = [start(*WANTED, "-o", "bench", STEP_SECONDS="0.1") for _ in range(2)]
    ends = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert figures(tmp_path / "bench") == undisturbed
    assert sorted((tmp_path / "syntheses").read_text().split()) == ["0", "1"]

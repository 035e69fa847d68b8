"""Several processes at one bench: none is left behind, and no cell is done twice or forgotten."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddkit import DdkitError
from ddkit.bench import workers
from ddkit.bench.results import read_results
from ddkit.bench.store import Store
from ddkit.bench.workers import default_workers, run_workers
from ddkit.runtime.progress import Silent

SLOW = ("-m", "slow", "--workers", "2", "-o", "bench")


def until(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Wait until a condition holds; return whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def status(pid: int) -> tuple[str, int]:
    """Return a process's state and its parent; X and 0 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return fields[0], int(fields[1])


def running(pid: int) -> bool:
    return status(pid)[0] not in "XZ"


def workers_of(parent: int) -> list[int]:
    """Return the processes that the bench has started and that are running."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and status(int(entry.name))[1] == parent:
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"spawn_main" in command and running(int(entry.name)):
                found.append(int(entry.name))
    return found


@pytest.fixture
def begun(environment) -> Callable[[], list[str]]:
    """Return a function that lists the seeds of all sets that were begun, or gone on with."""
    path = Path(environment["SYNTHESES"])
    return lambda: path.read_text().split() if path.exists() else []


@pytest.fixture
def at_work(start, begun) -> Callable[..., tuple]:
    """Return a function that starts two workers and waits until both distil."""
    left: list[int] = []

    def begin(*flags: str, **environment: str):
        process = start(*SLOW, *flags, **environment)
        assert until(lambda: len(begun()) == 2 or process.poll() is not None)
        found = workers_of(process.pid)
        left.extend(found)
        assert len(found) == 2
        return process, found

    yield begin
    for pid in left:
        if running(pid):
            os.kill(pid, signal.SIGKILL)


def figures(store: Store) -> dict[tuple, list[float]]:
    return {
        tuple(e.about[name] for name in ("method", "seed", "role")): e.result["evaluation"][
            "accuracies"
        ]
        for e in store.evaluated("figure")
    }


@pytest.mark.slow
def test_two_workers_give_the_figures_of_one(bench, config, folder):
    alone = bench("random", "herding", seeds=2).store
    other = folder.with_name("other")
    assert run_workers(config("random", "herding", seeds=2), other, 2, Silent()) == []
    store = Store(other, create=False)
    assert len(store.all("cell")) == 4
    assert len(figures(store)) == 8
    assert figures(store) == figures(alone)


def test_one_worker_is_this_process(config, folder, monkeypatch):
    monkeypatch.setattr(workers, "get_context", lambda how: pytest.fail("a process was started"))
    assert run_workers(config(), folder, 1, Silent()) == []
    assert len(read_results(Store(folder)).rows) == 1


def test_what_is_wrong_is_found_before_a_process_is_started(config, folder, monkeypatch):
    monkeypatch.setattr(workers, "get_context", lambda how: pytest.fail("a process was started"))
    wrong = {"apm": {"method": "apm", "settings": ["nonsense=1"]}}
    with pytest.raises(DdkitError, match="nonsense"):
        run_workers(config("apm", variants=wrong), folder, 2, Silent())


@pytest.mark.slow
def test_a_killed_worker_leaves_its_cell_to_the_other(at_work, begun, tmp_path):
    process, (first, _) = at_work("--seeds", "3", STEP_SECONDS="0.2")
    os.kill(first, signal.SIGKILL)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert sorted(set(begun())) == ["0", "1", "2"]
    assert len(begun()) == 4  # one of them was gone on with
    store = Store(tmp_path / "bench", create=False)
    assert [entry.error for entry in store.all("cell")] == [None] * 3
    (row,) = read_results(store).rows
    assert (row.accuracy.sets, row.accuracy.networks) == (3, 2)


@pytest.mark.slow
def test_ctrl_c_stops_all_and_the_same_command_goes_on(at_work, start, begun, tmp_path):
    process, found = at_work("--seeds", "2", STEP_SECONDS="0.2")
    for pid in found:
        os.kill(pid, signal.SIGINT)  # a terminal sends it to all of them
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert not any(map(running, found))
    assert list((tmp_path / "bench").glob("runs/*/shards/*.checkpoint.safetensors"))
    again = start(*SLOW, "--seeds", "2")
    assert again.communicate(timeout=120) is not None
    assert again.returncode == 0
    assert sorted(begun()) == ["0", "0", "1", "1"]


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_bench(at_work, tmp_path):
    process, found = at_work("--seeds", "2", STEP_SECONDS="0.5")
    process.kill()
    process.wait()
    assert until(lambda: not any(map(running, found)), 20)
    assert list((tmp_path / "bench").glob("runs/*/shards/*.checkpoint.safetensors"))
    assert Store(tmp_path / "bench", create=False).all("cell") == []


def test_workers_that_had_not_begun_stop_with_a_killed_bench_too(start):
    process = start(*SLOW, "--seeds", "2", STEP_SECONDS="8")
    assert until(lambda: len(workers_of(process.pid)) == 2)
    found = workers_of(process.pid)
    process.kill()
    process.wait()
    gone = until(lambda: not any(map(running, found)), 40)
    for pid in filter(running, found):
        os.kill(pid, signal.SIGKILL)
    assert gone


@pytest.mark.slow
def test_a_cell_that_fails_is_tried_once_per_bench(start, begun):
    for times in (1, 2):
        process = start(*SLOW, STEP_SECONDS="as long as it likes")
        _, error = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "error: slow · digits · ipc 1 · seed 0: ValueError" in error
        assert len(begun()) == times


@pytest.mark.parametrize(
    ("device", "gpu", "count"),
    [(None, False, 3), (None, True, 1), ("cpu", True, 3), ("cuda:1", True, 1)],
)
def test_small_networks_get_a_process_per_core_and_a_gpu_one(
    config, monkeypatch, device, gpu, count
):
    monkeypatch.setattr(workers, "available_cores", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert default_workers(config().model_copy(update={"device": device})) == count

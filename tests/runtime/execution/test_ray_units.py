"""Units on Ray: how many at once, in which order, and what becomes of those that are lost."""

import json
import threading
import time

import pytest

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.units import Job, Unit
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.progress import Silent
from tests.runtime.execution.conftest import add_machine

pytestmark = pytest.mark.timeout(120)


class Notes(Silent):
    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


def times(folder, *names):
    return [json.loads((folder / f"{name}.json").read_text()) for name in names]


def test_no_more_units_run_than_there_are_cpus_however_often_they_report(do, tmp_path):
    names, said = "abcde", Notes()
    do("take_time", *names, seconds=1.5, progress=said)
    found = times(tmp_path, *names)
    for one in found:
        others = [other for other in found if other["began"] <= one["began"] < other["ended"]]
        assert len(others) <= 2
    assert any(a["began"] < b["began"] < a["ended"] for a in found for b in found)
    assert sorted(said.said) == [f"{name} is done" for name in names]


def test_a_unit_waits_for_those_whose_files_it_reads(do, tmp_path):
    do("take_time", "a", "b", "c", seconds=0.5, after={"b": ("a",), "c": ("elsewhere", "b")})
    first, second, third = times(tmp_path, "a", "b", "c")
    assert first["ended"] <= second["began"]
    assert second["ended"] <= third["began"]


@pytest.mark.slow
def test_each_unit_on_a_gpu_has_a_process_of_its_own(do, cluster, tmp_path):
    """One that stays would hold memory of the GPU: of those on a CPU it is used again."""
    machine = add_machine(cluster, num_gpus=1)  # only said to have one
    try:
        do("say_who", "a", "b", "c", gpu=True)
    finally:
        cluster.remove_node(machine)
    assert len({(tmp_path / name).read_text() for name in "abc"}) == 3
    do("say_who", "d", "e", "f", "g")
    assert len({(tmp_path / name).read_text() for name in "defg"}) < 4


def test_a_unit_whose_worker_dies_is_done_again(do, tmp_path):
    do("die_once", "a", "b")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "done"


def test_a_unit_whose_machine_is_told_to_end_is_done_again(do, tmp_path):
    do("told_to_end_once", "a")
    assert (tmp_path / "a").read_text() == "done"


def test_a_unit_that_always_dies_comes_to_an_end(do, monkeypatch):
    monkeypatch.setattr("ddkit.runtime.execution.ray.LOST_AT_MOST", 1)
    with pytest.raises(DdkitError, match="units a was repeatedly lost with its worker"):
        do("die_always", "a")


def test_a_known_error_is_the_same_line_as_here_and_is_not_tried_again(do, tmp_path):
    with pytest.raises(DdkitError) as caught:
        do("fail", "a")
    assert str(caught.value) == "a cannot be done: try another"
    assert type(caught.value) is DdkitError
    assert (tmp_path / "tries").read_text() == "x"


def test_where_one_fails_the_others_stop_at_a_safe_point(do, tmp_path):
    with pytest.raises(DdkitError, match="wrong cannot be done"):
        do("until_stopped", "long", "wrong", "late", fails="wrong")
    assert (tmp_path / "long.saved").exists()
    assert not (tmp_path / "late.begun").exists()


def test_a_bug_keeps_its_traceback(do):
    with pytest.raises(ZeroDivisionError, match="a bug") as caught:
        do("break_down", "a")
    assert "small_units.py" in str(caught.value)


def test_a_stop_reaches_units_that_run_and_those_that_wait_do_not_begin(do, tmp_path, request_stop):
    def stop():
        while not (tmp_path / "b.begun").exists():
            time.sleep(0.05)
        request_stop()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Stopped):
        do("until_stopped", "a", "b", "c")
    assert {path.name for path in tmp_path.glob("*.saved")} == {"a.saved", "b.saved"}
    assert not (tmp_path / "c.begun").exists()


def test_units_that_no_machine_has_room_for_are_refused(on_ray):
    job = Job("units", "small_units:fail", threads=64)
    with pytest.raises(DdkitError, match=r"needs 64 CPUs \(--threads\), and no machine"):
        on_ray.run(job, [Unit("a", lambda task: None, {})], Silent())
    with pytest.raises(DdkitError, match="and a GPU, and no machine"):
        on_ray.run(Job("units", gpu=True), [Unit("a", lambda task: None, {})], Silent())


def test_no_units_are_no_work(on_ray):
    on_ray.run(Job("units", threads=64), [], Silent())

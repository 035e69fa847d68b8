"""What parts of a run share when they are in several processes, and what they show together."""

import threading
import time
from io import StringIO

import pytest
import torch
from rich.console import Console

from ddkit import Member, MemberTask, networks
from ddkit.pools import training as pool_training
from ddkit.runtime.bars import Bars
from ddkit.runtime.execution.units import Job

SPEC = "convnet:depth=1:width=4"
DESCRIPTION = {"network": SPEC, "classes": 3, "shape": [1, 8, 8]}


def member(seed: int) -> Member:
    generator = torch.Generator().manual_seed(seed)
    network = networks.create(SPEC, classes=3, shape=(1, 8, 8), generator=generator)
    return Member(network.state_dict(), "teacher")


def test_parts_that_choose_at_once_get_what_the_first_chose(run):
    work, got, barrier = run(), [], threading.Barrier(5)

    def choose(value):
        time.sleep(0.05)
        return value

    def ask(value):
        barrier.wait()
        got.append(work.settled("segment", lambda: choose(value)))
        got.append(work.settled(f"own {value}", lambda: value) == value)

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    chosen = {value for value in got if value is not True}
    assert len(got) == 10
    assert len(chosen) == 1
    assert [work.settled(f"own {value}", lambda: "lost") for value in range(5)] == list(range(5))


class Recorder:
    """An executor that notes what it is given, and does it in the order of the last first."""

    def run(self, job, units, progress, done=0):
        self.job, self.units, self.done = job, list(units), done
        with progress.task(job.title, 1) as bar:
            for unit in sorted(units, key=lambda unit: bool(unit.after)):
                unit.here(bar)


def test_a_pools_units_say_what_they_read_and_see_only_that(tmp_path, run):
    seen = {}

    def task(name, *needs):
        def train(context):
            seen[name] = [info.task for info in context.pool.members]
            yield 0, member(len(seen))

        return MemberTask(name, train, needs=needs)

    tasks = [task("a"), task("b"), task("c", "b", "a"), task("d")]
    executor, job = Recorder(), Job("pool", "somewhere:else")
    pool_training.train_pool(
        tasks, tmp_path, DESCRIPTION, run().space, torch.device("cpu"), job, executor
    )
    assert executor.job is job
    assert [unit.name for unit in executor.units] == ["a", "b", "c", "d"]
    assert [unit.arguments for unit in executor.units][2] == {"tasks": ["c"]}
    assert [set(unit.after) for unit in executor.units] == [set(), set(), {"a", "b"}, set()]
    assert seen == {"a": [], "b": [], "c": ["b", "a"], "d": []}
    for name in ("pool.json", "c.safetensors"):
        (tmp_path / name).unlink()
    pool_training.train_pool(
        tasks, tmp_path, DESCRIPTION, run().space, torch.device("cpu"), job, executor
    )
    assert [(unit.name, unit.after) for unit in executor.units] == [("c", ())]
    assert executor.done == 3


@pytest.fixture
def bars():
    bars = Bars()
    bars.console = Console(file=StringIO(), force_terminal=True, width=120)
    return bars


def test_a_bar_inside_another_stands_below_it_while_it_lasts(bars):
    with bars.task("pool", 2) as outer:
        with bars.task("expert 1 of 2", 5, 1) as inner:
            inner.advance()
            names = [(task.description, task.completed) for task in bars._progress.tasks]
            assert names == [("pool", 0), ("expert 1 of 2", 2)]
        outer.advance()
        assert [(task.description, task.completed) for task in bars._progress.tasks] == [
            ("pool", 1)
        ]
    with bars.task("labels", 1):
        assert [task.description for task in bars._progress.tasks] == ["labels"]


def test_after_an_error_inside_two_bars_others_can_be_shown(bars):
    with pytest.raises(ValueError, match="bad"), bars.task("a", 1), bars.task("b", 1):
        raise ValueError("bad")
    with bars.task("c", 1):
        assert [task.description for task in bars._progress.tasks] == ["c"]

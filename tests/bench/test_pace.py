"""The same time of synthesis for every method: measured once, kept, and used for all seeds."""

import time

import pytest

from ddkit import DdkitError, MethodOptions, option
from ddkit.bench.cells import cells
from ddkit.bench.harness import Harness
from ddkit.bench.pace import steps_within
from ddkit.runtime.progress import Silent
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.shards import group_shards


class Stepped(MethodOptions):
    steps_option = "rounds"
    rounds: int = option(7, "optimiser steps", ge=0)


@pytest.fixture
def stepped(method, fading):
    """Install a method that takes as many steps as its option says; the run decides its groups."""

    class Objective(fading):
        def __init__(self, run):
            super().__init__(run)
            self.steps = run.options.rounds

        def shards(self):
            return group_shards(self.run, self.run.ipc)

    return method(
        "stepped", method_config=lambda: Stepped, synthesis_loss=lambda run, pool: Objective(run)
    )


@pytest.fixture
def pace(monkeypatch) -> list[float]:
    """Let a step take the seconds in this list, whatever it takes; each measurement takes one."""
    seconds: list[float] = []
    monkeypatch.setattr(Engine, "pace", lambda engine, steps, longest: seconds.pop(0))
    return seconds


def settled(store) -> list[int | None]:
    return [e.result["steps"] for e in store.all("settled") if "minutes" in e.about]


def test_a_budget_is_divided_by_the_time_of_a_step_of_each_shard(config, stepped, pace):
    one, two = cells(config(stepped, ipc=(1, 2)))
    pace += [0.5, 0.5]
    assert steps_within(one, 2, Silent()) == 240
    assert steps_within(two, 2, Silent()) == 120  # two shards share the time


def test_a_method_without_steps_is_not_measured(config, pace):
    (cell,) = cells(config("random"))
    assert steps_within(cell, 2, Silent()) is None


def test_every_method_with_steps_gets_its_own_and_random_none(bench, stepped, method, pace):
    method("quicker", method_config=lambda: Stepped)
    pace += [10.0, 2.0]
    done = bench("random", stepped, "quicker", budget_minutes=1)
    assert done.failed == []
    assert settled(done.store) == [None, 6, 30]
    taken = {
        found["method"]: found["options"].get("rounds")
        for found in (entry.result["config"] for entry in done.store.all("set"))
    }
    assert taken == {"random": None, "stepped": 6, "quicker": 30}


def test_steps_are_measured_once_for_all_seeds_and_later_starts(bench, stepped, pace, work):
    pace += [10.0]
    done = bench(stepped, budget_minutes=1, seeds=2)
    assert settled(done.store) == [6]
    work.clear()
    pace += [1.0]  # what a later measurement would say
    bench(stepped, budget_minutes=1, seeds=2)
    assert not work
    bench(stepped, budget_minutes=1, seeds=3)
    assert pace == [1.0]
    options = [e.result["config"]["options"] for e in done.store.all("set")]
    assert [found["rounds"] for found in options if found] == [6, 6, 6]


WIDER = {"method": "stepped", "network": "convnet:width=4"}


@pytest.mark.parametrize(
    "change",
    [
        {"budget_minutes": 2},
        {"ipc": (2,)},
        {"network": "convnet:depth=1:width=2"},
        {"variants": {"stepped": WIDER}},
    ],
)
def test_another_budget_or_another_run_is_measured_anew(bench, stepped, pace, change):
    pace += [10.0, 2.0]
    bench(stepped, budget_minutes=1)
    done = bench(stepped, **{"budget_minutes": 1, **change})
    assert pace == []
    assert len(settled(done.store)) == 2


def test_too_short_a_budget_is_one_line(config, stepped, pace, folder):
    pace += [90.0]
    with pytest.raises(DdkitError, match=r"--budget-minutes 1 is too short for stepped") as refused:
        Harness(config(stepped, budget_minutes=1), folder).run()
    assert "takes 90 s" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pace_is_that_of_the_steps_after_the_first(config, method, fading, tmp_path):
    """The first allocates: it takes longer, and is not counted."""

    class Starting(fading):
        steps = 100

        def loss(self, shard, leaves, step):
            time.sleep(0.2 if step == 0 else 0.02)
            return super().loss(shard, leaves, step)

    name = method(
        "starting", method_config=lambda: Stepped, synthesis_loss=lambda run, pool: Starting(run)
    )
    (cell,) = cells(config(name))
    steps = steps_within(cell, 0.1, Silent())
    assert 100 < steps <= 300  # 6 s of 20 ms and what the machine adds; 27 with the first one alone


def test_what_is_measured_leaves_nothing_behind(config, stepped, pace, tmp_path):
    pace += [1.0]
    before = set(tmp_path.rglob("*"))
    steps_within(cells(config(stepped))[0], 1, Silent())
    assert set(tmp_path.rglob("*")) == before

"""How steps are timed: in turn, in blocks without waits, and no single slow step decides."""

from itertools import chain, cycle, islice, repeat
from math import inf

import pytest
import torch

from ddkit.runtime.timing import BLOCK, BLOCKS, step_seconds

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Clock:
    """Time that passes by steps alone, and what happened in it."""

    now = 0.0

    def __init__(self):
        self.noted: list[object] = []

    def steps(self, name, seconds):
        """Take steps of these seconds; an exception instead of a number is raised."""
        for each in seconds:
            if isinstance(each, Exception):
                raise each
            self.now += each
            self.noted.append(name)
            yield name


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Let a made-up clock run, and note when a CUDA device is waited for."""
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: clock.noted.append("wait"))
    return clock


def test_one_slow_step_decides_nothing(clock):
    slow = chain(repeat(0.01, 20), [5.0], repeat(0.01))
    found = step_seconds([clock.steps("slow once", slow), clock.steps("slower", repeat(0.02))], CPU)
    assert found == pytest.approx([0.01, 0.02])


def test_the_first_step_does_not_count_where_there_are_others(clock):
    assert step_seconds([clock.steps("a", chain([60.0], repeat(0.1)))], CPU) == pytest.approx([0.1])
    assert step_seconds([clock.steps("a", [60.0])], CPU) == pytest.approx([60.0])


def test_works_take_turns(clock):
    step_seconds([clock.steps("a", repeat(1.0)), clock.steps("b", repeat(1.0))], CPU)
    assert clock.noted == ["a", "b"] * (1 + BLOCKS)


def test_a_device_is_waited_for_around_blocks_alone(clock):
    step_seconds([clock.steps("a", repeat(0.001))], CUDA)
    block = ["wait", *["a"] * BLOCK, "wait"]
    assert clock.noted == ["wait", "a", "wait", *block * BLOCKS]


def test_what_comes_back_to_a_device_warms_up_untimed(clock):
    again = cycle([2.0, 1.0])  # in turns of two steps the first is the slower one
    a, b = clock.steps("a", again), clock.steps("b", repeat(1.0))
    assert step_seconds([a, b], CUDA, block=1) == [1.0, 1.0]
    assert list(islice(clock.noted, 8)) == ["a", "wait", "a", "wait", "b", "wait", "b", "wait"]


def test_blocks_are_short_where_steps_are_long(clock):
    step_seconds([clock.steps("a", repeat(0.06))], CUDA)
    assert clock.noted.count("a") == 1 + 4 * BLOCKS  # four in a quarter of a second
    assert step_seconds([clock.steps("a", repeat(3.0))], CUDA) == [3.0]


def test_a_work_may_end_within_a_block(clock):
    assert step_seconds([clock.steps("a", [9, 1, 2, 3])], CPU, block=2) == [2.25]  # 1.5 and 3


@pytest.mark.parametrize("after", [0, 1, 5])
def test_what_fails_is_out_of_the_running(clock, after):
    fails = chain(repeat(0.1, after), [torch.OutOfMemoryError("no room")])
    works = [clock.steps("fails", fails), clock.steps("a", repeat(1.0))]
    assert step_seconds(works, CPU, block=1) == [inf, 1.0]


def test_where_all_fail_the_reason_is_said(clock):
    works = [clock.steps(name, [RuntimeError(name)]) for name in "ab"]
    with pytest.raises(RuntimeError, match="b"):
        step_seconds(works, CPU)

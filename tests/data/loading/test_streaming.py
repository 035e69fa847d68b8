"""Batches are made ahead of their use, in order, and with the draws in the caller's thread."""

import threading
import time

import pytest
import torch

from ddkit.data.loading.streaming import AHEAD, ahead

CPU = torch.device("cpu")


def test_results_come_in_order():
    makers = (lambda n=n: torch.tensor(n) for n in range(9))
    assert [int(batch) for batch in ahead(makers, CPU)] == list(range(9))


def test_the_next_batches_are_made_while_one_is_used():
    made = []
    stream = ahead((lambda n=n: made.append(n) or torch.tensor(n) for n in range(9)), CPU)
    next(stream)
    deadline = time.monotonic() + 10
    while len(made) < 1 + AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == list(range(1 + AHEAD))


def test_draws_are_the_callers_and_the_work_is_not():
    threads = []

    def makers():
        for _ in range(3):
            threads.append(threading.current_thread())
            yield lambda: threads.append(threading.current_thread()) or torch.zeros(1)

    list(ahead(makers(), CPU))
    assert len(set(threads)) == 2
    assert threads.count(threading.current_thread()) == 3


def test_an_error_reaches_whoever_takes_the_batch():
    def fail():
        raise ValueError("broken")

    stream = ahead([lambda: torch.zeros(1), fail], CPU)
    next(stream)
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_an_epoch_that_is_left_leaves_no_thread():
    before = threading.active_count()
    stream = ahead((lambda: torch.zeros(1) for _ in range(100)), CPU)
    next(stream)
    stream.close()
    assert threading.active_count() == before

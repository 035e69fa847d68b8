"""Peak memory against sums done by hand; a float32 takes four bytes."""

import torch

from ddkit.runtime.memory import PeakMemory


def test_tensors_that_live_together_add_up():
    with PeakMemory() as memory:
        a = torch.zeros(1000)
        b = torch.zeros(500, dtype=torch.float64)
    assert memory.peak == 4000 + 4000
    assert len(a) + len(b) == 1500


def test_freed_tensors_leave():
    with PeakMemory() as memory:
        for _ in range(5):
            a = torch.zeros(1000)
            del a
        b = torch.zeros(200)
        del b
    assert memory.peak == 4000


def test_a_peak_in_the_middle_is_remembered():
    with PeakMemory() as memory:
        a = torch.zeros(100)
        b = torch.zeros(1000)
        del b
        c = torch.zeros(300)
    assert memory.peak == 400 + 4000
    assert len(a) + len(c) == 400


def test_views_cost_nothing():
    with PeakMemory() as memory:
        a = torch.zeros(10, 100)
        views = [a.view(-1), a[3], a.T, a.detach(), a.expand(5, 10, 100), a[:, ::2]]
    assert memory.peak == 4000
    assert len(views) == 6


def test_a_view_keeps_its_storage_alive():
    with PeakMemory() as memory:
        row = torch.zeros(10, 100)[3]
        other = torch.zeros(1000)
    assert memory.peak == 8000
    assert len(row) + len(other) == 1100


def test_operations_in_place_cost_nothing():
    with PeakMemory() as memory:
        a = torch.zeros(1000)
        a.add_(1).mul_(2)
        torch.add(a, 1, out=a)
        a[3:5] = 1
    assert memory.peak == 4000


def test_what_was_there_before_does_not_count():
    before = torch.zeros(1000)
    with PeakMemory() as memory:
        view = before[:10]
        before.add_(1)
        copy = before + 1
    assert memory.peak == 4000
    assert len(view) + len(copy) == 1010


def test_temporaries_of_one_expression_count():
    a = torch.ones(1000)
    with PeakMemory() as memory:
        b = (a + 1) * (a + 2)  # two terms and their product live at once
    assert memory.peak == 12_000
    assert len(b) == 1000


def test_backward_counts_what_the_graph_keeps():
    a = torch.ones(1000, requires_grad=True)
    with PeakMemory() as memory:
        b = a.exp()  # kept for backward, 4000 bytes
        c = b.exp()  # kept for backward, 4000 bytes
        loss = c.sum()  # 4 bytes
        del b, c
        assert memory.peak == 8004
        loss.backward()
    assert memory.peak >= 8004 + 4000  # at least one gradient beside the graph
    assert memory.peak <= 8004 + 3 * 4000


def test_two_measurements_do_not_disturb_each_other():
    with PeakMemory() as first:
        a = torch.zeros(1000)
    with PeakMemory() as second:
        b = torch.zeros(10)
        del a
    assert (first.peak, second.peak) == (4000, 40)
    assert len(b) == 10

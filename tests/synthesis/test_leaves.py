"""The update of a leaf against plain loops: whole, and by drawn rows with lazy momentum."""

from functools import partial
from math import sqrt

import pytest
import torch

from ddkit.synthesis.leaves import Leaf, LeafState

CPU = torch.device("cpu")
STEPS = 7
DRAWS = [[0, 2], [1, 3], [2, 4], [0, 1], [4], [3, 0, 2], [1, 2]]


def start() -> torch.Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def targets() -> torch.Tensor:
    return torch.randn(STEPS, 5, 3, generator=torch.Generator().manual_seed(1))


def step(state: LeafState, number: int, rows: torch.Tensor | None) -> None:
    """Take one step of Σ (leaf - target)², whose gradient is 2 (leaf - target)."""
    target = targets()[number]
    leaf = state.tensor(rows)
    ((leaf - (target if rows is None else target[rows])) ** 2).sum().backward()
    state.update(number / STEPS)


def by_rows(leaf: Leaf, steps: range = range(STEPS), state: LeafState | None = None) -> LeafState:
    state = state or LeafState(leaf, CPU)
    for number in steps:
        step(state, number, torch.tensor(DRAWS[number]))
    return state


def test_drawn_rows_under_sgd_with_momentum_equal_a_loop_over_rows():
    state = by_rows(Leaf(start(), partial(torch.optim.SGD, lr=0.1, momentum=0.9)))
    value, momentum = start().double(), torch.zeros(5, 3, dtype=torch.float64)
    for number, rows in enumerate(DRAWS):
        for row in rows:  # a row that is not drawn keeps its value and its momentum
            gradient = 2 * (value[row] - targets()[number, row])
            momentum[row] = 0.9 * momentum[row] + gradient
            value[row] = value[row] - 0.1 * momentum[row]
    torch.testing.assert_close(state.value.double(), value, rtol=0, atol=1e-5)


def test_drawn_rows_under_adam_equal_a_loop_over_rows():
    state = by_rows(Leaf(start(), partial(torch.optim.Adam, lr=0.1, betas=(0.9, 0.99))))
    value = start().double()
    first, second = torch.zeros(2, 5, 3, dtype=torch.float64)
    for number, rows in enumerate(DRAWS):
        count = number + 1  # the steps of the leaf correct the bias, as in torch's SparseAdam
        for row in rows:
            gradient = 2 * (value[row] - targets()[number, row])
            first[row] = 0.9 * first[row] + 0.1 * gradient
            second[row] = 0.99 * second[row] + 0.01 * gradient**2
            size = 0.1 * sqrt(1 - 0.99**count) / (1 - 0.9**count)
            value[row] -= size * first[row] / (second[row].sqrt() + 1e-8 * sqrt(1 - 0.99**count))
    torch.testing.assert_close(state.value.double(), value, rtol=0, atol=1e-5)


OPTIMISERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.5),
    "adam": partial(torch.optim.Adam, lr=0.1),
    "adamw": partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1),
}
every_optimiser = pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)


@every_optimiser
def test_rows_that_are_not_drawn_keep_their_bytes(optimiser):
    state = LeafState(Leaf(start(), optimiser), CPU)
    for number in range(3):
        step(state, number, torch.tensor([1, 3]))
    assert torch.equal(state.value[[0, 2, 4]], start()[[0, 2, 4]])
    assert not (state.value[[1, 3]] == start()[[1, 3]]).any()


@every_optimiser
def test_drawing_all_rows_equals_the_whole_leaf(optimiser):
    whole, drawn = (LeafState(Leaf(start(), optimiser), CPU) for _ in range(2))
    for number in range(STEPS):
        step(whole, number, None)
        step(drawn, number, torch.arange(5))
    assert torch.equal(whole.value, drawn.value)


@every_optimiser
def test_the_whole_leaf_equals_plain_torch(optimiser):
    state = LeafState(Leaf(start(), optimiser), CPU)
    parameter = start().requires_grad_()
    plain = optimiser([parameter])
    for number in range(STEPS):
        step(state, number, None)
        plain.zero_grad()
        ((parameter - targets()[number]) ** 2).sum().backward()
        plain.step()
    assert torch.equal(state.value, parameter)


def test_a_leaf_may_be_drawn_at_some_steps_and_whole_at_others():
    sgd = partial(torch.optim.SGD, lr=0.1)
    plan = [None, [1, 2], None, [0], [3, 4], None]
    state, value = LeafState(Leaf(start(), sgd), CPU), start()
    for number, rows in enumerate(plan):
        step(state, number, None if rows is None else torch.tensor(rows))
        moved = slice(None) if rows is None else rows
        value[moved] -= 0.1 * 2 * (value[moved] - targets()[number][moved])
    torch.testing.assert_close(state.value.detach(), value)


@pytest.mark.parametrize("drawn", [False, True])
def test_the_schedule_is_a_factor_on_the_learning_rate(drawn):
    leaf = Leaf(start(), partial(torch.optim.SGD, lr=0.1), schedule=lambda t: 1 - t)
    state, value = LeafState(leaf, CPU), start()
    for number in range(STEPS):
        step(state, number, torch.arange(5) if drawn else None)
        value -= 0.1 * (1 - number / STEPS) * 2 * (value - targets()[number])
    torch.testing.assert_close(state.value.detach(), value)


def test_the_constraint_holds_after_each_step():
    def clip(value: torch.Tensor) -> None:
        value.clamp_(-0.5, 0.5)

    for draw in (None, torch.tensor([0, 2])):
        leaf = Leaf(start(), partial(torch.optim.SGD, lr=0.4), constraint=clip)
        state = LeafState(leaf, CPU)
        for number in range(3):
            step(state, number, draw)
            moved = state.value if draw is None else state.value[draw]
            assert moved.abs().max() <= 0.5
        if draw is not None:
            assert torch.equal(state.value[[1, 3, 4]], start()[[1, 3, 4]])


def test_a_leaf_that_the_loss_did_not_use_stays_as_it_is():
    state = LeafState(Leaf(start(), OPTIMISERS["adamw"]), CPU)
    state.tensor(None)
    state.update(0.0)
    assert torch.equal(state.value, start())


def test_the_initial_value_of_the_method_is_not_changed():
    value = start()
    step(LeafState(Leaf(value, OPTIMISERS["sgd"]), CPU), 0, None)
    assert torch.equal(value, start())
    assert not value.requires_grad


@every_optimiser
@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("at", [0, 1, 4])
def test_a_leaf_goes_on_from_its_state_as_if_never_interrupted(optimiser, drawn, at):
    def cosine(t: float) -> float:
        return (1 - t) ** 2

    def go(state: LeafState, steps: range) -> None:
        for number in steps:
            step(state, number, torch.tensor(DRAWS[number]) if drawn else None)

    leaf = Leaf(start(), optimiser, cosine)
    through, before, after = (LeafState(leaf, CPU) for _ in range(3))
    go(through, range(STEPS))
    go(before, range(at))
    after.load_state_dict({name: t.clone() for name, t in before.state_dict().items()})
    go(after, range(at, STEPS))
    assert torch.equal(after.value, through.value)
    ours, theirs = after.state_dict(), through.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

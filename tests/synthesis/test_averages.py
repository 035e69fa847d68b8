"""The moving average of a leaf against its closed form, whole and by rows, and after a stop."""

from functools import partial

import pytest
import torch

from ddkit.synthesis.leaves import Leaf, LeafState

CPU = torch.device("cpu")
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.5)
RATE, STEPS = 0.9, 6
DRAWS = [[0, 2], [1], [2, 0], [0, 1], [2], [0]]


def start() -> torch.Tensor:
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def target(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number + 1)
    return torch.randn(4, 2, generator=generator, dtype=torch.float64)


def take(state: LeafState, number: int, rows: list[int] | None = None) -> None:
    leaf = state.tensor(None if rows is None else torch.tensor(rows))
    wanted = target(number) if rows is None else target(number)[rows]
    ((leaf - wanted) ** 2).sum().backward()
    state.update(number / STEPS)


def averaged(**fields) -> LeafState:
    return LeafState(Leaf(start(), SGD, average=RATE, **fields), CPU)


def closed_form(values: list[torch.Tensor], debias: bool) -> torch.Tensor:
    """Return dᵏ v₀ + (1 − d) Σ dᵏ⁻ⁱ vᵢ; debiased (1 − d) Σ dᵏ⁻ⁱ vᵢ / (1 − dᵏ)."""
    first, *others = values
    if not others:
        return first
    k = len(others)
    recent = sum((1 - RATE) * RATE ** (k - i) * value for i, value in enumerate(others, 1))
    return recent / (1 - RATE**k) if debias else RATE**k * first + recent


every_kind = pytest.mark.parametrize("debias", [False, True])


@every_kind
def test_after_each_step_the_average_is_the_closed_form(debias):
    state, plain = averaged(debias=debias), LeafState(Leaf(start(), SGD), CPU)
    values = [start()]
    for number in range(STEPS):
        torch.testing.assert_close(state.result, closed_form(values, debias), rtol=1e-12, atol=0)
        take(state, number)
        take(plain, number)
        values.append(plain.value.detach().clone())
        assert torch.equal(state.value, plain.value)  # what is optimised is the value itself
    torch.testing.assert_close(state.result, closed_form(values, debias), rtol=1e-12, atol=0)
    assert not state.result.requires_grad


@every_kind
def test_of_drawn_rows_the_average_counts_the_steps_that_drew_them(debias):
    state = averaged(debias=debias)
    values = [[row] for row in start()]
    for number, rows in enumerate(DRAWS):
        before = state.result.clone()
        take(state, number, rows)
        rest = [row for row in range(4) if row not in rows]
        assert torch.equal(state.result[rest], before[rest])
        for row in rows:
            values[row].append(state.value[row].clone())
    expected = torch.stack([closed_form(row, debias) for row in values])
    torch.testing.assert_close(state.result, expected, rtol=1e-12, atol=0)
    assert torch.equal(state.result[3], start()[3])  # never drawn


@every_kind
def test_a_leaf_of_one_number_and_a_constraint(debias):
    leaf = Leaf(torch.tensor(2.0), SGD, constraint=lambda v: v.fill_(1.0), average=RATE)
    leaf.debias = debias
    state = LeafState(leaf, CPU)
    (state.tensor(None) ** 2).backward()
    state.update(0.0)
    assert float(state.result) == pytest.approx(1.0 if debias else 0.9 * 2 + 0.1)


@every_kind
@pytest.mark.parametrize("draws", [[None] * STEPS, DRAWS, [None, None, [1], [0], None, [2]]])
@pytest.mark.parametrize("at", [0, 1, 4])
def test_it_goes_on_from_its_state_as_if_never_interrupted(debias, draws, at):
    through, before, after = (averaged(debias=debias) for _ in range(3))
    for number, rows in enumerate(draws):
        take(through, number, rows)
    for number, rows in enumerate(draws[:at]):
        take(before, number, rows)
    after.load_state_dict({name: t.clone() for name, t in before.state_dict().items()})
    for number, rows in enumerate(draws[at:], at):
        take(after, number, rows)
    assert torch.equal(after.result, through.result)
    assert torch.equal(after.value, through.value)


def test_a_step_that_gave_no_gradient_leaves_the_average_as_it_is():
    state = averaged()
    take(state, 0)
    before = state.result.clone()
    state.tensor(None)
    state.update(0.5)
    assert torch.equal(state.result, before)


def test_without_an_average_a_checkpoint_is_as_it_was():
    state = LeafState(Leaf(start(), SGD), CPU)
    take(state, 0)
    assert set(state.state_dict()) == {"value", "optimiser.0.momentum_buffer"}
    assert state.result.data_ptr() == state.value.data_ptr()

"""LAMB and AdaBelief against loops in float64, number by number."""

from math import sqrt

import pytest
import torch

from ddkit.runtime.tensors import optimiser_tensors, restore_optimiser
from ddkit.synthesis.leaves import Leaf, LeafState
from ddkit.training.optimisers import AdaBelief, Lamb

STEPS, RATE = 6, 0.1
KINDS = [Lamb, AdaBelief]


def start() -> torch.Tensor:
    return torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradients() -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(STEPS, 3, 2, dtype=torch.float64, generator=draw)


def taken(kind, steps=range(STEPS), value=None, state=None):
    """Return the parameter after these steps, and its optimiser."""
    parameter = (start() if value is None else value.clone()).requires_grad_()
    optimiser = kind([parameter], lr=RATE)
    if state is not None:
        restore_optimiser(optimiser, state)
    for number in steps:
        parameter.grad = gradients()[number]
        optimiser.step()
    return parameter.detach(), optimiser


def test_lamb_moves_each_parameter_by_a_share_of_its_length():
    value = start().flatten().tolist()
    first, second = [0.0] * 6, [0.0] * 6
    for number in range(STEPS):
        move = []
        for i, g in enumerate(gradients()[number].flatten().tolist()):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g * g
            unbiased = second[i] / (1 - 0.999 ** (number + 1))
            move.append(first[i] / (1 - 0.9 ** (number + 1)) / (sqrt(unbiased) + 1e-6))
        ratio = sqrt(sum(v * v for v in value)) / sqrt(sum(m * m for m in move))
        value = [v - RATE * ratio * m for v, m in zip(value, move, strict=True)]
    torch.testing.assert_close(
        taken(Lamb)[0].flatten(), torch.tensor(value, dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_adabelief_divides_by_the_distance_of_gradients_from_their_mean():
    value = start().flatten().tolist()
    first, second = [0.0] * 6, [0.0] * 6
    for number in range(STEPS):
        for i, g in enumerate(gradients()[number].flatten().tolist()):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * (g - first[i]) ** 2 + 1e-16
            unbiased = second[i] / (1 - 0.999 ** (number + 1))
            value[i] -= RATE * first[i] / (1 - 0.9 ** (number + 1)) / (sqrt(unbiased) + 1e-16)
    torch.testing.assert_close(
        taken(AdaBelief)[0].flatten(), torch.tensor(value, dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_lamb_leaves_the_length_of_a_move_where_a_parameter_is_zero():
    zero = torch.zeros(3, 2, dtype=torch.float64)
    moved, _ = taken(Lamb, range(1), zero)  # the first move of Adam is a sign
    torch.testing.assert_close(moved, -RATE * gradients()[0].sign(), rtol=1e-3, atol=0)
    still, _ = taken(Lamb, range(0), zero)
    optimiser = Lamb([still.requires_grad_()], lr=RATE)
    still.grad = torch.zeros_like(still)
    optimiser.step()
    assert not still.detach().any()  # 0 / 0 moves nothing


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_put_back_goes_on_with_the_same_bits(kind):
    half, optimiser = taken(kind, range(3))
    again, _ = taken(kind, range(3, STEPS), half, optimiser_tensors(optimiser))
    assert torch.equal(again, taken(kind)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_one_moves_leaves_and_drawn_rows_of_them(kind):
    state = LeafState(Leaf(start(), lambda p: kind(p, lr=RATE)), torch.device("cpu"))
    for number, rows in enumerate([None, torch.tensor([0, 2]), torch.tensor([1])]):
        leaf = state.tensor(rows)
        before = state.value.detach().clone()
        leaf.grad = gradients()[number] if rows is None else gradients()[number][rows]
        state.update(number / 3)
        moved = (state.value.detach() != before).any(1)
        assert moved.tolist() == [rows is None or row in rows for row in range(3)]

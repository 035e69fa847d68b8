"""The published solver: Adam's steps, and rates that follow what became of them."""

import pytest
import torch
from ddkit_regression.inner_steps import Steps, descended


def bowl(curvature):
    def value(x):
        return 0.5 * (curvature * x.square()).sum() - x.sum(), curvature * x - 1

    return value


def test_steps_are_those_of_torchs_adam():
    start = torch.tensor([0.0, 2.0], dtype=torch.float64)
    curvature = torch.tensor([1.0, 5.0], dtype=torch.float64)
    point = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([point], lr=0.1)
    expected = []
    for _ in range(12):
        loss = 0.5 * (curvature * point.square()).sum() - point.sum()
        expected.append(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found, losses = descended(bowl(curvature), start, torch.tensor(0.1), 12)
    torch.testing.assert_close(found, point.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-6, atol=0)


def test_the_first_rate_is_below_the_one_at_which_a_run_rises():
    solver, zero = Steps(20), torch.zeros(3, dtype=torch.float64)
    rate = solver._first("optimum", bowl(1.0), zero)
    steps = torch.tensor(rate / 1e-5 / 0.7).log() / torch.tensor(1.2).log()
    assert steps.item() == pytest.approx(round(steps.item()), abs=1e-3)  # raised 1.2 at a time

    def falls(rate):
        return bool((descended(bowl(1.0), zero, torch.tensor(rate), 20)[1].diff() < 0).all())

    assert falls(rate)
    assert falls(rate / 0.7 / 1.2)
    assert not falls(rate / 0.7)


@pytest.mark.parametrize(
    ("name", "rose", "fell", "factor"),
    [
        ("optimum", 15, 0, 0.9),
        ("optimum", 14, 0, 1.0),
        ("optimum", 0, 35, 1.05),
        ("optimum", 0, 34, 1.0),
        ("inverse", 15, 0, 0.9),
        ("inverse", 0, 50, 1.0),
    ],
)
def test_rates_follow_fifty_runs(name, rose, fell, factor):
    solver, zero = Steps(3), torch.zeros(1)
    falls, stays = bowl(1.0), 50 - rose - fell
    solver._run(name, falls, zero)
    solver._runs[name] = 0
    solver._state[f"{name}.rate"] = torch.tensor(1e-3)
    solver._state[f"{name}.fell"] = torch.zeros(())

    def rises(x):
        return -x.sum(), torch.ones_like(x)

    def dips(x):  # rises once, and ends with a fall
        return torch.stack([x.sum() * 0, 1 + x.sum() * 0, 0.5 + x.sum() * 0])[calls()], x + 1

    number = iter(range(10_000))

    def calls():
        return next(number) % 3

    for value, runs in ((rises, rose), (falls, fell), (dips, stays)):
        for _ in range(runs):
            solver._run(name, value, zero)
    assert solver._state[f"{name}.rate"].item() == pytest.approx(1e-3 * factor, rel=1e-6)
    assert not solver._state[f"{name}.rose"]
    assert not solver._state[f"{name}.fell"]


def test_what_it_keeps_comes_back():
    one, other = Steps(3), Steps(3)
    for solver in (one, other):
        solver._run("optimum", bowl(1.0), torch.zeros(2))
    other.begin()
    other.load_state_dict({name: each.clone() for name, each in one.state_dict().items()})
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, each in one.state_dict().items():
        assert torch.equal(each, other.state_dict()[name])

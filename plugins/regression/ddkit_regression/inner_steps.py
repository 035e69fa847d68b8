"""RCIG as published: Adam steps on the inner problem, and on its inverse Hessian."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ddkit_regression.implicit import Problem, Solver

RATES = {"optimum": 1e-5, "inverse": 5e-5}  # at first; then raised as far as all losses fall
RAISED, BACK, MOST_RAISES = 1.2, 0.7, 100
EVERY = 50  # runs, after which rates follow what became of them
LOWERED, RISES = 0.9, 0.29  # where this share of them ended with a rise
MORE, FALLS = 1.05, 0.7  # where this share fell throughout; that of the optimum alone
BETAS, EPSILON = (0.9, 0.999), 1e-8

Quadratic = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A point → the value there, 0-dim, and the gradient."""


class Steps(Solver):
    """Takes some Adam steps from zero on each of the two, at rates that adapt themselves.

    Rates and counts are on the device, so that no step waits for it but the first one of a set,
    which raises the rates until a run does not fall throughout.
    """

    clips = True

    def __init__(self, steps: int):
        self.steps = steps
        self._state: dict[str, Tensor] = {}  # a rate of each, and of how many runs it rose or fell
        self._runs = dict.fromkeys(RATES, 0)

    def optimum(self, problem: Problem) -> Tensor:
        return self._run("optimum", problem.inner, self._zero(problem))

    def inverse(self, problem: Problem, gradient: Tensor) -> Tensor:
        def value(v: Tensor) -> tuple[Tensor, Tensor]:
            curved = problem.curved(v)
            return (v * (0.5 * curved - gradient)).sum(), curved - gradient

        return self._run("inverse", value, self._zero(problem))

    def begin(self) -> None:
        self._state, self._runs = {}, dict.fromkeys(RATES, 0)

    def state_dict(self) -> dict[str, Tensor]:
        return self._state | {f"{name}.runs": torch.tensor(n) for name, n in self._runs.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._runs = {name: int(state[f"{name}.runs"]) for name in RATES}
        self._state = {k: each.clone() for k, each in state.items() if not k.endswith(".runs")}

    def _zero(self, problem: Problem) -> Tensor:
        return problem.images.new_zeros(sum(each.numel() for each in problem.tangent.body))

    def _run(self, name: str, value: Quadratic, zero: Tensor) -> Tensor:
        """Return where a run ends, and let its rate follow."""
        self._state = {k: each.to(zero.device) for k, each in self._state.items()}
        if f"{name}.rate" not in self._state:
            self._state[f"{name}.rate"] = zero.new_tensor(self._first(name, value, zero))
            self._state |= {f"{name}.{kind}": zero.new_zeros(()) for kind in ("rose", "fell")}
        rate = self._state[f"{name}.rate"]
        found, losses = descended(value, zero, rate, self.steps)
        falling = losses.diff() < 0
        self._state[f"{name}.rose"] += ~falling[-1:].all()
        self._state[f"{name}.fell"] += falling.all()
        self._runs[name] += 1
        if self._runs[name] % EVERY == 0:
            rose, fell = (self._state[f"{name}.{kind}"] for kind in ("rose", "fell"))
            rate.mul_(torch.where(rose >= RISES * EVERY, LOWERED, 1.0))
            if name == "optimum":
                rate.mul_(torch.where(fell >= FALLS * EVERY, MORE, 1.0))
            rose.zero_()
            fell.zero_()
        return found

    def _first(self, name: str, value: Quadratic, zero: Tensor) -> float:
        """Return the rate that a set begins with."""
        rate = RATES[name]
        for _ in range(MOST_RAISES):
            _, losses = descended(value, zero, zero.new_tensor(rate), self.steps)
            if not bool((losses.diff() < 0).all()):
                break
            rate *= RAISED
        return rate * BACK


def descended(value: Quadratic, start: Tensor, rate: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return where Adam's steps lead from a point (d,), and the value before each of them."""
    point, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
    losses = []
    for step in range(1, steps + 1):
        loss, slope = value(point)
        losses.append(loss.detach())
        mean = mean.lerp(slope, 1 - BETAS[0])
        square = square.lerp(slope.square(), 1 - BETAS[1])
        unbiased = (square / (1 - BETAS[1] ** step)).sqrt() + EPSILON
        point = point - rate * mean / (1 - BETAS[0] ** step) / unbiased
    return point, torch.stack(losses)

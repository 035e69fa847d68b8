"""Optimisers that torch lacks, as optax defines them: LAMB (FRePo) and AdaBelief (RCIG, RFAD)."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class _Moments(torch.optim.Optimizer):
    """Two moving averages beside each parameter, and what a subclass makes of them.

    Their state is named and shaped as Adam's, so that whatever keeps Adam's keeps theirs.
    """

    usual_eps: float
    """ε where none is given, as in optax."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | None = None,
    ):
        eps = self.usual_eps if eps is None else eps
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step of every parameter that has a gradient."""
        for group in self.param_groups:
            (first, second), eps = group["betas"], group["eps"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())  # on the host, as in torch's own
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                state["step"] += 1
                mean, square, count = state["exp_avg"], state["exp_avg_sq"], state["step"].item()
                mean.lerp_(parameter.grad, 1 - first)
                self._spread(square, parameter.grad, mean, second)
                move = mean / (1 - first**count)
                move /= (square / (1 - second**count)).sqrt_().add_(eps)
                parameter.sub_(self._scaled(move, parameter), alpha=group["lr"])

    @abstractmethod
    def _spread(self, square: Tensor, gradient: Tensor, mean: Tensor, rate: float) -> None:
        """Let the second average follow, in place."""

    def _scaled(self, move: Tensor, parameter: Tensor) -> Tensor:
        """Return the move at a learning rate of 1."""
        return move


class Lamb(_Moments):
    """Adam's move, as long as the parameter itself (You et al., ICLR 2020); no weight decay.

    The ratio of the two lengths is one number for each parameter, and 1 where either is 0. It is
    taken over the rows that a step sees, where rows of a leaf are drawn.
    """

    usual_eps = 1e-6

    def _spread(self, square: Tensor, gradient: Tensor, mean: Tensor, rate: float) -> None:
        square.lerp_(gradient.square(), 1 - rate)

    def _scaled(self, move: Tensor, parameter: Tensor) -> Tensor:
        ours, theirs = parameter.norm(), move.norm()
        usual = (ours > 0) & (theirs > 0)
        return move * torch.where(usual, ours / theirs, 1.0)


class AdaBelief(_Moments):
    """Adam with how far gradients are from their mean, in place of how large they are.

    Zhuang et al., NeurIPS 2020. optax adds its second ε, of the same size, in each step.
    """

    usual_eps = 1e-16

    def _spread(self, square: Tensor, gradient: Tensor, mean: Tensor, rate: float) -> None:
        square.lerp_((gradient - mean).square_(), 1 - rate).add_(self.defaults["eps"])

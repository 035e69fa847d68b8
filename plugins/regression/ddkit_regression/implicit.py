"""RCIG's gradient (Loo, Hasani, Lechner, Rus, ICML 2023): through the optimum of its inner problem.

With the weights of the body moved by τ, to first order, and the last layer solved for,

    f_τ(x) = J(x) τ + φ(x) φ_sᵀ S⁻¹ (y − J_s τ),   S = φ_s φ_sᵀ + l₂ I
    G(τ) = l₂ / (2 n C) · [ tr (y − J_s τ)ᵀ S⁻¹ (y − J_s τ) + ‖τ‖² ]

is convex in τ: half the squared error of the set, and l₂ times the weights of the last layer and
τ, come to this. The loss L of real images at the optimum has the gradient

    ∂L/∂ψ − ∂/∂ψ ⟨v, ∂G/∂τ⟩,   H v = ∂L/∂τ,   H = ∂²G/∂τ² = l₂ / (n C) · [ I + J_sᵀ S⁻¹ J_s ].
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddkit_regression.first_order import Tangent, jacobian
from ddkit_regression.ridge import factor, solved

TINY = 1e-30  # in the place of a length of 0
Outer = Callable[[Tensor], Tensor]
"""Predictions (B, classes) of the real images of a step → the loss of the set, 0-dim."""


@dataclass(frozen=True)
class Problem:
    """The inner problem of a set in a network, without a graph.

    Attributes:
        network: θ₀, in eval mode.
        images: (n, channels, H, W), mirror images among them.
        tangent: of these.
        lower: the Cholesky factor of S (n, n), float64.
        targets: y (n, classes), float64.
        ridge: l₂.
    """

    network: nn.Module
    images: Tensor
    tangent: Tangent
    lower: Tensor
    targets: Tensor
    ridge: float

    @property
    def scale(self) -> float:
        """l₂ / (n C)."""
        return self.ridge / self.targets.numel()

    def inner(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Return G (0-dim) and its gradient (weights,) at τ (weights,)."""
        left = self.targets - self.tangent.push(tau).double()
        weighted = solved(self.lower, left)
        squares = (left * weighted).sum() + tau.double().square().sum()
        return self.scale / 2 * squares, self.scale * (tau - self.tangent.pull(weighted))

    def curved(self, v: Tensor) -> Tensor:
        """Return H v (weights,) of v (weights,)."""
        weighted = solved(self.lower, self.tangent.push(v))
        return self.scale * (v + self.tangent.pull(weighted))


class Solver(ABC):
    """Solves the inner problem, and what its gradient needs."""

    clips = False
    """Whether implicit gradients may be wrong, and shall not be longer than direct ones."""

    @abstractmethod
    def optimum(self, problem: Problem) -> Tensor:
        """Return τ (weights,) that minimises G."""

    @abstractmethod
    def inverse(self, problem: Problem, gradient: Tensor) -> Tensor:
        """Return H⁻¹ g (weights,) of a gradient g (weights,); `optimum` was called before."""

    def begin(self) -> None:  # noqa: B027 - the exact one keeps nothing
        """Start anew: a shard knows nothing of the one before."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return what lives across steps."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - as `begin`
        """Put back what `state_dict` returned."""


class Exact(Solver):
    """Solves one dense system, (Θ + S ⊗ I) α = y with Θ = J Jᵀ.

    τ = Jᵀ α, and by Woodbury's identity H⁻¹ g = n C / l₂ · [ g − Jᵀ (Θ + S ⊗ I)⁻¹ J g ].
    """

    def optimum(self, problem: Problem) -> Tensor:
        self._jacobian = jacobian(problem.network, problem.images)
        classes = problem.targets.shape[1]
        own = problem.lower @ problem.lower.T
        rest = torch.kron(own, torch.eye(classes, dtype=own.dtype, device=own.device))
        # l₂, which is in S, is far from the rounding of float32: Θ need not be float64
        body = (self._jacobian @ self._jacobian.T).double()
        self._lower = torch.linalg.cholesky_ex(body + rest).L
        return self._back(problem.targets.flatten())

    def inverse(self, problem: Problem, gradient: Tensor) -> Tensor:
        gradient = gradient.to(self._jacobian.dtype)
        return (gradient - self._back(self._jacobian @ gradient)) / problem.scale

    def _back(self, right: Tensor) -> Tensor:
        """Return Jᵀ (Θ + S ⊗ I)⁻¹ of a right-hand side (n · classes,)."""
        left = solved(self._lower, right[:, None])[:, 0]
        return self._jacobian.T @ left.to(self._jacobian.dtype)


@dataclass(frozen=True)
class Gradients:
    """The gradient of the loss by images, targets and all else that the loss depends on.

    Attributes:
        loss: L, 0-dim.
        direct: at a fixed τ; of each leaf.
        implicit: what the optimum adds; of the images and the targets, zeros for other leaves.
    """

    loss: Tensor
    direct: list[Tensor]
    implicit: list[Tensor]

    def whole(self) -> list[Tensor]:
        """Return both together."""
        return [one + two for one, two in zip(self.direct, self.implicit, strict=True)]

    def clipped(self) -> list[Tensor]:
        """Return both together, the implicit one of a leaf at most as long as the direct one."""
        return [
            one + two * (one.norm() / two.norm().clamp_min(TINY)).clamp_max(1)
            for one, two in zip(self.direct, self.implicit, strict=True)
        ]


def gradients(
    network: nn.Module,
    doubled: tuple[Tensor, Tensor],
    leaves: Sequence[Tensor],
    real: Sequence[Tensor],
    outer: Outer,
    ridge: float,
    solver: Solver,
) -> Gradients:
    """Return the gradient of the loss by the leaves.

    Args:
        network: θ₀, in eval mode.
        doubled: images (n, channels, H, W) and targets (n, classes) of the inner problem, in the
            graph of the leaves; that graph is kept.
        leaves: what is differentiated by; `outer` may depend on them, too.
        real: batches of real images.
        outer: L of predictions; differentiable.
        ridge: l₂.
        solver: of the inner problem.
    """
    images, targets = doubled
    tangent = Tangent(network, images)
    seen = tangent.features.detach().double()
    wanted = targets.detach().double()
    alone = Tangent(network, images.detach())
    lower = factor(seen @ seen.T, ridge)
    problem = Problem(network, images.detach(), alone, lower, wanted, ridge)
    tau = solver.optimum(problem)
    moved = alone.push(tau).double()

    # the loss as a function of what the set gives: φ_s, J_s τ, y, and f of the real images
    seen, moved, wanted = inputs = [
        each.detach().requires_grad_() for each in (seen, moved, wanted)
    ]
    theirs, features = _first_order(network, real, tau)
    theirs.requires_grad_()
    weights = seen.T @ solved(factor(seen @ seen.T, ridge), wanted - moved)
    loss = outer(theirs + features @ weights)
    by_theirs, by_seen, by_moved, by_wanted, *others = torch.autograd.grad(
        loss, [theirs, *inputs, *leaves], materialize_grads=True
    )
    slope = alone.pull(by_moved)
    for part, own in zip(real, by_theirs.split([len(part) for part in real]), strict=True):
        slope = slope + Tangent(network, part).pull(own)
    direct = _through(tangent, doubled, leaves, by_seen, by_wanted, [(by_moved, tau)])

    # ⟨v, ∂G/∂τ⟩ = l₂ / (n C) · (⟨v, τ⟩ − ⟨J_s v, S⁻¹ (y − J_s τ)⟩)
    v = solver.inverse(problem, slope)
    along = alone.push(v).double().requires_grad_()
    inner = (along * solved(factor(seen @ seen.T, ridge), wanted - moved)).sum() * problem.scale
    by_seen, by_moved, by_wanted, by_along = torch.autograd.grad(inner, [*inputs, along])
    implicit = _through(
        tangent, doubled, leaves, by_seen, by_wanted, [(by_moved, tau), (by_along, v)]
    )
    return Gradients(
        loss.detach(), [one + two for one, two in zip(direct, others, strict=True)], implicit
    )


def _first_order(network: nn.Module, real: Sequence[Tensor], tau: Tensor) -> tuple[Tensor, Tensor]:
    """Return J τ (B, classes) and features (B, d) of real images, float64, without a graph.

    That of each batch is let go: a step takes the memory of one.
    """
    moved, features = [], []
    for part in real:
        tangent = Tangent(network, part)
        moved.append(tangent.push(tau).double())
        features.append(tangent.features.detach().double())
    return torch.cat(moved), torch.cat(features)


def _through(
    tangent: Tangent,
    doubled: tuple[Tensor, Tensor],
    leaves: Sequence[Tensor],
    by_features: Tensor,
    by_targets: Tensor,
    moves: Sequence[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    """Return gradients by the leaves from those by features, targets, and products J τ.

    Args:
        moves: (gradient by J τ, τ); ⟨g, J τ⟩ = ⟨Jᵀ g, τ⟩.
    """
    kind = tangent.features.dtype
    value = (tangent.features * by_features.to(kind)).sum()
    for gradient, tau in moves:
        value = value + (tangent.pull(gradient, differentiable=True) * tau.to(kind)).sum()
    value = value + (doubled[1] * by_targets.to(doubled[1].dtype)).sum()
    return list(torch.autograd.grad(value, leaves, retain_graph=True, materialize_grads=True))

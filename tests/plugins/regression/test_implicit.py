"""RCIG's gradient against autograd through the closed form, with explicit Jacobians, in float64."""

import pytest
import torch
import torch.nn.functional as F
from ddkit_regression.first_order import Tangent, body_of, jacobian
from ddkit_regression.implicit import Exact, Problem, gradients
from ddkit_regression.inner_steps import Steps
from ddkit_regression.ridge import factor, margin, predicted
from torch import nn

from ddkit import last_linear_input

IMAGES, REAL, CLASSES, RIDGE = 3, 5, 3, 0.05


@pytest.fixture
def leaves(draw):
    values = draw(1, IMAGES, 1, 4, 4), draw(2, IMAGES, CLASSES), torch.tensor(0.3).double()
    return [value.requires_grad_() for value in values]


@pytest.fixture
def real(draw):
    return draw(3, REAL, 1, 4, 4)


def outer_of(leaves):
    labels = torch.arange(REAL) % CLASSES

    def outer(predictions):
        value = F.cross_entropy(leaves[2].exp() * predictions, labels)
        return value - margin(leaves[1], 0.4)

    return outer


def doubled(leaves, flip):
    images, targets = leaves[:2]
    if not flip:
        return images, targets
    return torch.cat([images, images.flip(3)]), torch.cat([targets, targets])


def differentiable_jacobian(network, images):
    """Return J (n · classes, weights), row by row, with its graph."""
    body = list(body_of(network).values())
    for weight in body:
        weight.requires_grad_(True)
    rows = []
    for logit in network(images).flatten():
        slopes = torch.autograd.grad(logit, body, create_graph=True, materialize_grads=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    return torch.stack(rows)


def closed_form(network, leaves, real, flip):
    """Return the loss of (Θ_ts + K_ts ⊗ I) (Θ_ss + (K_ss + l₂ I) ⊗ I)⁻¹ y."""
    images, targets = doubled(leaves, flip)
    ours, theirs = (differentiable_jacobian(network, x) for x in (images, real))
    own, their = (last_linear_input(network, x) for x in (images, real))
    identity = torch.eye(CLASSES).double()
    ridge = RIDGE * torch.eye(len(images)).double()
    system = ours @ ours.T + torch.kron(own @ own.T + ridge, identity)
    solution = torch.linalg.solve(system, targets.flatten())
    found = (theirs @ ours.T + torch.kron(their @ own.T, identity)) @ solution
    return outer_of(leaves)(found.view(REAL, CLASSES))


def of(network, leaves, real, flip, solver):
    parts = [real[:2], real[2:]]
    return gradients(network, doubled(leaves, flip), leaves, parts, outer_of(leaves), RIDGE, solver)


@pytest.mark.parametrize("flip", [False, True])
def test_the_implicit_gradient_is_that_through_the_closed_form(network, leaves, real, flip):
    loss = closed_form(network, leaves, real, flip)
    expected = torch.autograd.grad(loss, leaves)
    found = of(network, leaves, real, flip, Exact())
    torch.testing.assert_close(found.loss, loss.detach(), rtol=1e-10, atol=0)
    for one, other in zip(found.whole(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8 * other.abs().max().item())
    assert all(part.norm() > 1e-3 for part in found.implicit[:2])  # it is no small part
    assert not found.implicit[2].any()


def test_published_steps_come_to_the_exact_gradient(network, leaves, real):
    exact = of(network, leaves, real, False, Exact())

    def apart(steps):
        solver = Steps(steps)
        rates = {"optimum.rate": torch.tensor(0.01), "inverse.rate": torch.tensor(1.0)}
        counts = {f"{k}.{n}": torch.zeros(()) for k in ("optimum", "inverse") for n in KEPT}
        solver.load_state_dict(rates | counts)
        found = of(network, leaves, real, False, solver).whole()
        both = zip(found, exact.whole(), strict=True)
        return max(((a - b).norm() / b.norm()).item() for a, b in both)

    few, many = apart(20), apart(500)
    assert many < 1e-8 < 1e-2 < few


KEPT = ("rose", "fell", "runs")


def test_a_frozen_body_is_frepo_with_an_absolute_ridge(leaves, real):
    class Frozen(nn.Module):
        """Fixed features; the only weight of the body has no effect."""

        def __init__(self):
            super().__init__()
            self.body = nn.Parameter(torch.ones(1).double())
            self.register_buffer("mix", torch.randn(16, 8, dtype=torch.float64))
            self.head = nn.Linear(8, CLASSES, bias=False).double()

        def forward(self, x):
            return self.head((x.flatten(1) @ self.mix).tanh()) + 0 * self.body

    network = Frozen()
    own, theirs = (last_linear_input(network, x) for x in (leaves[0], real))
    frepo = outer_of(leaves)(predicted(theirs @ own.T, own @ own.T, leaves[1], RIDGE))
    expected = torch.autograd.grad(frepo, leaves)
    found = of(network, leaves, real, False, Exact())
    torch.testing.assert_close(found.loss, frepo.detach(), rtol=1e-12, atol=0)
    for one, other in zip(found.whole(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    for part in found.implicit:
        torch.testing.assert_close(part, torch.zeros_like(part), rtol=0, atol=1e-12)


@pytest.fixture
def problem(network, leaves):
    images, targets = (leaf.detach() for leaf in leaves[:2])
    tangent = Tangent(network, images)
    seen = tangent.features.detach()
    return Problem(network, images, tangent, factor(seen @ seen.T, RIDGE), targets, RIDGE)


def test_the_inner_loss_is_half_squares_and_weights(problem, draw):
    tau = draw(7, sum(weight.numel() for weight in problem.tangent.body))
    seen, moved = problem.tangent.features.detach(), problem.tangent.push(tau)
    kernel = seen @ seen.T
    left = problem.targets - moved
    w = torch.linalg.solve(kernel + RIDGE * torch.eye(IMAGES).double(), left)
    f = moved + kernel @ w
    weights = (w.T @ kernel @ w).trace() + tau.square().sum()  # those of the last layer: φᵀ w
    expected = 0.5 * ((problem.targets - f).square().sum() + RIDGE * weights) / (IMAGES * CLASSES)
    value, slope = problem.inner(tau)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    for index in (0, 5, -1):
        step = torch.zeros_like(tau)
        step[index] = 1e-4
        difference = (problem.inner(tau + step)[0] - problem.inner(tau - step)[0]) / 2e-4
        torch.testing.assert_close(slope[index], difference, rtol=1e-6, atol=1e-10)


def test_the_solver_finds_the_optimum_and_inverts_the_hessian(problem, draw):
    solver = Exact()
    tau = solver.optimum(problem)
    assert problem.inner(tau)[1].abs().max() < 1e-12
    v = draw(8, len(tau))
    torch.testing.assert_close(problem.curved(solver.inverse(problem, v)), v, rtol=1e-8, atol=1e-10)


def test_products_with_the_derivative_are_those_of_its_matrix(network, problem, draw):
    matrix = differentiable_jacobian(network, problem.images).detach()
    torch.testing.assert_close(jacobian(network, problem.images), matrix, rtol=1e-12, atol=1e-14)
    tau, v = draw(5, matrix.shape[1]), draw(6, IMAGES, CLASSES)
    expected = (matrix @ tau).view(IMAGES, CLASSES)
    torch.testing.assert_close(problem.tangent.push(tau), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(problem.tangent.pull(v), v.flatten() @ matrix)


def test_an_implicit_gradient_that_is_long_is_cut_to_the_direct_one(network, leaves, real):
    found = of(network, leaves, real, False, Exact())
    for one, two, both in zip(found.direct, found.implicit, found.clipped(), strict=True):
        added = both - one
        assert added.norm() <= one.norm() * (1 + 1e-12)
        torch.testing.assert_close(added * two.norm(), two * added.norm(), rtol=1e-9, atol=1e-12)
    short = found.implicit[0] / found.implicit[0].norm() * found.direct[0].norm() / 2
    small = type(found)(found.loss, found.direct[:1], [short])
    torch.testing.assert_close(small.clipped()[0], small.whole()[0])

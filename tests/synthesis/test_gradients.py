"""Gradients that a method computed itself, delivered by `backward` like any other."""

import pytest
import torch

from ddkit import with_gradients


def leaf(*shape: int, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_()


def test_the_result_is_the_value_and_backward_delivers_the_gradients():
    a, b = leaf(2, 3), leaf(4)
    gradients = {a: torch.full((2, 3), 5.0), b: torch.arange(4.0)}
    result = with_gradients(torch.tensor(7.0), gradients)
    assert result.item() == 7.0
    result.backward()
    assert torch.equal(a.grad, gradients[a])
    assert torch.equal(b.grad, gradients[b])


def test_the_gradients_are_scaled_by_what_comes_from_above():
    a = leaf(3)
    (2 * with_gradients(torch.tensor(7.0), {a: torch.ones(3)}) - 5).backward()
    assert a.grad.tolist() == [2, 2, 2]


def test_they_add_up_with_those_of_autograd():
    a = leaf(3)
    (with_gradients(torch.tensor(1.0), {a: torch.ones(3)}) + (a**2).sum()).backward()
    torch.testing.assert_close(a.grad, 1 + 2 * a.detach())


def test_gradients_computed_by_hand_equal_autograd_in_float64():
    weight, data = leaf(4, 3, dtype=torch.float64), leaf(5, 3, dtype=torch.float64)

    def by_hand(weight, data):
        residual = (data @ weight.T).detach()  # loss = Σ (data weightᵀ)²
        gradients = {weight: 2 * residual.T @ data, data: 2 * residual @ weight}
        return with_gradients((residual**2).sum(), gradients)

    (by_hand(weight, data).exp() / 1e6).backward()
    ours = weight.grad, data.grad
    plain = [t.detach().clone().requires_grad_() for t in (weight, data)]
    (((plain[1] @ plain[0].T) ** 2).sum().exp() / 1e6).backward()
    for ours_, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(ours_, theirs.grad, rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(by_hand, (weight.detach().requires_grad_(), data))


def test_they_flow_on_into_what_the_tensor_was_made_of():
    a = leaf(3)
    made = a * 3
    with_gradients(torch.tensor(1.0), {made: torch.ones(3)}).backward()
    assert a.grad.tolist() == [3, 3, 3]


def test_no_gradient_flows_through_the_value_or_the_gradients():
    a, b = leaf(3), leaf(3)
    with_gradients((b**2).sum(), {a: b * 2}).backward()
    assert b.grad is None
    assert torch.equal(a.grad, 2 * b.detach())


def test_a_gradient_of_another_shape_is_refused():
    message = r"a gradient of shape \(3,\) was given for a leaf of shape \(2, 3\)"
    with pytest.raises(ValueError, match=message):
        with_gradients(torch.tensor(1.0), {leaf(2, 3): torch.ones(3)})


def test_a_value_that_is_no_scalar_is_refused():
    with pytest.raises(ValueError, match=r"must be a 0-dim tensor, not of shape \(1,\)"):
        with_gradients(torch.ones(1), {leaf(3): torch.ones(3)})

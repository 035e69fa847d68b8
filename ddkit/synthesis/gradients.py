"""Gradients that a method computed itself, handed to the engine as a loss like any other."""

from collections.abc import Mapping

import torch
from torch import Tensor


class _WithGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, count: int, *tensors: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*tensors[count:])
        return value.detach().clone()

    @staticmethod
    def backward(ctx, upstream: Tensor):  # type: ignore[no-untyped-def]
        gradients = ctx.saved_tensors
        return (None, None, *(upstream * g for g in gradients), *(None for _ in gradients))


def with_gradients(value: Tensor, gradients: Mapping[Tensor, Tensor]) -> Tensor:
    """Return a loss that equals `value` and whose backward delivers `gradients`.

    For methods whose gradient is not (or not in one piece) what autograd would compute, such as a
    recursion over unrolled steps or a sum over memory-bound segments.

    Args:
        value: 0-dim tensor, the loss; no gradient flows through it.
        gradients: for each leaf (a tensor that requires grad) d value / d leaf, of its shape.

    Returns:
        A 0-dim tensor. `(2 * result).backward()` delivers twice the gradients.

    Raises:
        ValueError: a gradient's shape differs from its leaf's, or `value` is not 0-dim.
    """
    if value.dim() != 0:
        raise ValueError(f"the value must be a 0-dim tensor, not of shape {tuple(value.shape)}")
    for leaf, gradient in gradients.items():
        if leaf.shape != gradient.shape:
            raise ValueError(
                f"a gradient of shape {tuple(gradient.shape)} was given for a leaf of shape "
                f"{tuple(leaf.shape)}"
            )
    leaves = list(gradients)
    result: Tensor = _WithGradients.apply(
        value, len(leaves), *leaves, *(gradients[leaf].detach() for leaf in leaves)
    )
    return result

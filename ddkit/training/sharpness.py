"""Steps that look for flat minima: the slope at the sharpest point near the weights (GSAM).

Zhuang et al., ICLR 2022, with the adaptive climb of Kwon et al., ICML 2021. Each tensor here holds
k networks, (k, numbers) of one dtype: all norms and products are those of one network.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

LEAST = 1e-12  # added to a norm that may be 0


@torch.no_grad()
def sharpen(
    network: nn.Module,
    differentiate: Callable[[], object],
    sharpness: float,
    surrogate: float,
    networks: int = 1,
) -> None:
    """Turn the gradients g of a network into those of a step towards flat minima, g_s − α g_⊥.

    Weights are as before to the bit. So are buffers: running statistics are those at θ.

    Args:
        network: with g in its parameters' `grad`; one that has none is not trained.
        differentiate: puts into `grad` what the present weights give, with the draws of g.
        sharpness, surrogate: ρ and α.
        networks: k, how many networks the leading dimension of every parameter holds.
    """
    parameters = [each for each in network.parameters() if each.grad is not None]
    weights = flat(parameters, networks)
    slopes = flat((each.grad for each in parameters if each.grad is not None), networks)
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    write_flat(parameters, weights + climb(weights, slopes, sharpness))
    with torch.enable_grad():
        differentiate()
    write_flat(parameters, weights)
    for buffer, before in buffers:
        buffer.copy_(before)
    found = [each.grad for each in parameters if each.grad is not None]
    write_flat(found, descent(slopes, flat(found, networks), surrogate))


def climb(weights: Tensor, slopes: Tensor, sharpness: float) -> Tensor:
    """Return ε = ρ θ² ⊙ g / ‖θ ⊙ g‖, the step to where the loss is highest around θ.

    Args:
        weights, slopes: θ and g = ∇L(θ).
        sharpness: ρ.
    """
    weighted = weights * slopes
    norms: Tensor = weighted.norm(dim=1, keepdim=True) + LEAST
    return weights * weighted * (sharpness / norms)


def descent(slopes: Tensor, climbed: Tensor, surrogate: float) -> Tensor:
    """Return g_s − α g_⊥, with g_⊥ what g has at right angles to g_s.

    Args:
        slopes, climbed: g = ∇L(θ) and g_s = ∇L(θ + ε).
        surrogate: α, by how much the gap L(θ + ε) − L(θ) counts.
    """
    square = climbed.square().sum(1, keepdim=True)
    along = (slopes * climbed).sum(1, keepdim=True) / square.clamp_min(LEAST**2)
    return climbed - surrogate * (slopes - along * climbed)


def flat(tensors: Iterable[Tensor], networks: int) -> Tensor:
    """Return a copy of tensors as (networks, numbers); several networks are stacked in each."""
    return torch.cat([tensor.detach().reshape(networks, -1) for tensor in tensors], 1)


def write_flat(tensors: Sequence[Tensor], values: Tensor) -> None:
    """Write what `flat` returned back into the tensors."""
    sizes = [tensor.numel() // len(values) for tensor in tensors]
    parts = zip(values.split(sizes, 1), tensors, strict=True)
    torch._foreach_copy_(list(tensors), [part.reshape(tensor.shape) for part, tensor in parts])

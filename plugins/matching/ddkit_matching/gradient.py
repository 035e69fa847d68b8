"""Gradient matching (Zhao, Mopuri, Bilen, ICLR 2021): real and synthetic images of a class shall
move a network alike.

    min_S Σ_t D(∇_θ L(S; θ_t), ∇_θ L(T; θ_t)),   D = Σ over layers of d                    (Eq. 9)
    d(A, B) = Σ_i (1 − A_i · B_i / (‖A_i‖ ‖B_i‖)),   i: output nodes of the layer          (Eq. 10)
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Distance = Literal["cosine", "mse", "l1"]
EPSILON = 1e-6  # of the released code, beside ‖A_i‖ ‖B_i‖: small gradients count less


def gradient_loss(
    network: nn.Module,
    real: Tensor,
    synthetic: Tensor,
    label: int,
    distance: Distance = "cosine",
) -> Tensor:
    """Return D of Eq. 9 for the images of one class, 0-dim, differentiable in `synthetic`.

    As in the released code of each, weights of two or more dimensions are matched by cosines, layer
    by layer (DC), or those of convolutions by differences (IDC); biases and the scales and shifts
    of norms count for nothing.

    Args:
        network: inputs → logits (B, classes). Weights that require no gradient are left out.
        real: (N, channels, H, W), network inputs; no gradient flows into them.
        synthetic: (n, channels, H, W), network inputs.
        label: the class of all of them.
        distance: d of Eq. 10, or the sum of squared or of absolute differences.
    """
    weights = matched_weights(network, distance)
    target = _gradients(network, real, label, weights, differentiable=False)
    own = _gradients(network, synthetic, label, weights, differentiable=True)
    if distance == "cosine":
        return gradient_distance(own, target)
    apart = [a - b for a, b in zip(own, target, strict=True)]
    sums = [x.square().sum() if distance == "mse" else x.abs().sum() for x in apart]
    return torch.stack(sums).sum()


def matched_weights(network: nn.Module, distance: Distance) -> list[nn.Parameter]:
    """Return the weights whose gradients are matched."""
    least = 2 if distance == "cosine" else 3
    return [w for w in network.parameters() if w.dim() >= least and w.requires_grad]


def gradient_distance(synthetic: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Return the sum of Eq. 10 over layers, 0-dim.

    Args:
        synthetic, real: for each layer a gradient (out, …) of its weight; all that leads to one
            output node is one vector. One of zeros is 1 from every other.
    """
    distances = []
    for own, target in zip(synthetic, real, strict=True):
        rows, targets = own.flatten(1), target.flatten(1)
        lengths = rows.norm(dim=1) * targets.norm(dim=1)
        distances.append((1 - (rows * targets).sum(1) / (lengths + EPSILON)).sum())
    return torch.stack(distances).sum()


def _gradients(
    network: nn.Module, inputs: Tensor, label: int, weights: Sequence[Tensor], differentiable: bool
) -> tuple[Tensor, ...]:
    """Return the gradient of the mean cross-entropy by each weight; zeros for one not used."""
    classes = torch.full((len(inputs),), label, device=inputs.device)
    loss = F.cross_entropy(network(inputs), classes)
    return torch.autograd.grad(loss, weights, create_graph=differentiable, materialize_grads=True)

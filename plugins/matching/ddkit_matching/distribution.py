"""Distribution matching (Zhao, Bilen, WACV 2023): real and synthetic images of a class shall have
the same mean feature in networks that nobody trained.

    min_S E_θ ‖ 1/|T| Σ_i ψ_θ(A(x_i)) − 1/|S| Σ_j ψ_θ(A(s_j)) ‖²,   A: siamese augmentation  (Eq. 4)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit import features_and_logits, last_linear_input


def distribution_loss(
    network: nn.Module,
    real: Tensor,
    synthetic: Tensor,
    label: int,
    weight: Tensor | None = None,
) -> Tensor:
    """Return Eq. 4 for the images of one class in one network, 0-dim, and IDM's term of the class.

    Differentiable in `synthetic`. Features ψ are what the last linear layer sees.

    Args:
        network: inputs → logits (B, classes).
        real: (N, channels, H, W), augmented network inputs; no gradient flows into them.
        synthetic: (n, channels, H, W), augmented alike.
        label: the class of all of them, which features do not depend on.
        weight: of the cross-entropy of `synthetic`, 0-dim; None leaves it out.

    Raises `DdkitError` where the network has no linear layer at its end.
    """
    target, own, logits = features(network, real, synthetic)
    distance = (own.mean(0) - target.mean(0)).square().sum()
    return distance if weight is None else distance + class_term(logits, label, weight)


def features(network: nn.Module, real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return features of both (N, d) and (n, d), and the logits of synthetic images (n, classes).

    No gradient flows into those of real images.
    """
    with torch.no_grad():
        target = last_linear_input(network, real)
    return target, *features_and_logits(network, synthetic)


def class_term(logits: Tensor, label: int, weight: float | Tensor) -> Tensor:
    """Return the weighted cross-entropy of logits (n, classes) of one class, 0-dim (IDM, NCFM)."""
    classes = torch.full((len(logits),), label, device=logits.device)
    return weight * F.cross_entropy(logits, classes)

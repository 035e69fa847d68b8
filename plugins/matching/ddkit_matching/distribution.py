"""Distribution matching (Zhao, Bilen, WACV 2023): real and synthetic images of a class shall have
the same mean feature in networks that nobody trained.

    min_S E_θ ‖ 1/|T| Σ_i ψ_θ(A(x_i)) − 1/|S| Σ_j ψ_θ(A(s_j)) ‖²,   A: siamese augmentation  (Eq. 4)
"""

import torch
from torch import Tensor, nn

from ddkit import last_linear_input


def distribution_loss(network: nn.Module, real: Tensor, synthetic: Tensor, label: int) -> Tensor:
    """Return Eq. 4 for the images of one class in one network, 0-dim.

    Differentiable in `synthetic`. Features ψ are what the last linear layer sees.

    Args:
        network: inputs → logits (B, classes).
        real: (N, channels, H, W), augmented network inputs; no gradient flows into them.
        synthetic: (n, channels, H, W), augmented alike.
        label: the class of all of them, which features do not depend on.

    Raises `DdkitError` where the network has no linear layer at its end.
    """
    with torch.no_grad():
        target = last_linear_input(network, real).mean(0)
    return (last_linear_input(network, synthetic).mean(0) - target).square().sum()

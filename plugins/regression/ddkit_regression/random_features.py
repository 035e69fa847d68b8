"""RFAD's kernel: the mean over random networks of the products of their features.

K = 2 / (k d) Σ_m Φ_m Φ_mᵀ + 0.01     (Loo et al., NeurIPS 2022, and their code)
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ddkit import last_linear_input

SHIFT, SCALE = 0.01, 2.0  # of the kernel
WEIGHTS, BIASES = 2.0, 0.01  # variances, the former times the inputs of a unit


class Random(nn.Module):
    """A network whose weights are given, so that several of them live at once."""

    def __init__(self, skeleton: nn.Module, weights: Mapping[str, Tensor]):
        super().__init__()
        self.skeleton = skeleton
        self.weights = dict(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = torch.func.functional_call(self.skeleton, self.weights, (inputs,))
        return logits


def drawn(skeleton: nn.Module, generator: torch.Generator) -> Random:
    """Return a network with weights from N(0, 2 / inputs) and biases from N(0, 0.01).

    Norms keep what they have. The generator is on the network's device.
    """
    weights = {}
    for name, layer in skeleton.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            variance = WEIGHTS / layer.weight[0].numel()
            for kind, size in (("weight", variance), ("bias", BIASES)):
                old = getattr(layer, kind)
                if old is not None:
                    new = torch.empty_like(old, requires_grad=False)
                    weights[f"{name}.{kind}"] = new.normal_(0, size**0.5, generator=generator)
    return Random(skeleton, weights)


def random_kernels(
    networks: Sequence[Random], images: Tensor, real: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return K_ts (B, n) and K_ss (n, n), float64, differentiable in `images`.

    Args:
        images: (n, channels, H, W), of the set.
        real: batches of real images, B in all; no gradient flows into them.
    """
    cross, own = [], []
    for network in networks:
        features = last_linear_input(network, images).double()
        with torch.no_grad():
            theirs = torch.cat([last_linear_input(network, part) for part in real])
        scale = SCALE / features.shape[1]
        cross.append(scale * theirs.double() @ features.T)
        own.append(scale * features @ features.T)
    return torch.stack(cross).mean(0) + SHIFT, torch.stack(own).mean(0) + SHIFT

"""Matching of characteristic functions (Wang et al., CVPR 2025): the features of real and synthetic
images of a class, of length 1, shall have the same distribution.

    Φ_x(t) = mean over images of exp(i ⟨t, x⟩)
    mean_t √( (1 − p) (|Φ_r| − |Φ_s|)² + p · 2 (|Φ_r||Φ_s| − Re Φ_r Re Φ_s − Im Φ_r Im Φ_s) )

Eq. 8: the two terms, of amplitude and of phase, add up to |Φ_r − Φ_s|².
"""

from collections.abc import Mapping
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit import Leaf

SCALE = 300  # of the loss, in the released code
FLOOR = 1e-12  # of the phase term, whose root has no slope at 0; as in the released code
NOISE, HIDDEN = 16, 64  # of the network that learns scales
WIDEST = 10.0  # a scale is between this and its inverse


def characteristic_loss(
    real: Tensor, synthetic: Tensor, frequencies: Tensor, phase: float
) -> Tensor:
    """Return Eq. 8, 0-dim, differentiable in `synthetic` and `frequencies`.

    Args:
        real: features (N, d) of real images.
        synthetic: (n, d).
        frequencies: (k, d).
        phase: p, the weight of the difference in phase.
    """
    amplitude, turn = differences(*(function(x, frequencies) for x in (real, synthetic)))
    return ((1 - phase) * amplitude + phase * turn.clamp_min(FLOOR)).sqrt().mean()


def function(features: Tensor, frequencies: Tensor) -> Tensor:
    """Return Φ (2, k), real and imaginary part, of features (N, d), brought to length 1."""
    angles = frequencies @ F.normalize(features, dim=1).T
    return torch.stack([angles.cos().mean(1), angles.sin().mean(1)])


def differences(real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared differences of Φ (2, k) in amplitude and in phase, (k,) each."""
    ours, theirs = synthetic.norm(dim=0), real.norm(dim=0)
    return (theirs - ours).square(), 2 * (theirs * ours - (real * synthetic).sum(0))


def scale_leaves(features: int, generator: torch.Generator, rate: float) -> dict[str, Leaf]:
    """Return the weights of a network from noise to the scale of each feature's frequencies.

    At first all scales are 1: the law is the normal one.
    """
    inner = torch.randn(NOISE, HIDDEN, generator=generator) / NOISE**0.5
    values = {
        "scale_inner": inner,
        "scale_inner_bias": torch.zeros(HIDDEN),
        "scale_outer": torch.zeros(HIDDEN, features),
        "scale_outer_bias": torch.zeros(features),
    }

    def adam(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=rate)

    return {name: Leaf(value, adam) for name, value in values.items()}


def draw_frequencies(
    count: int, features: int, generator: torch.Generator, scales: Mapping[str, Tensor]
) -> Tensor:
    """Draw frequencies (count, features): normal ones, each times scales from noise of its own.

    Differentiable in `scales`, the weights of `scale_leaves`; without them all scales are 1.
    """
    device = generator.device
    normal = torch.randn(count, features, generator=generator, device=device)
    if not scales:
        return normal
    noise = torch.randn(count, NOISE, generator=generator, device=device)
    inner = F.leaky_relu(noise @ scales["scale_inner"] + scales["scale_inner_bias"], 0.2)
    outer = inner @ scales["scale_outer"] + scales["scale_outer_bias"]
    return normal * (log(WIDEST) * outer.tanh()).exp()

"""KIP's kernel: the neural tangent kernel of infinitely wide, fully connected networks.

In NTK parameterisation with ReLU (Nguyen, Chen, Lee, ICLR 2021; Jacot et al., NeurIPS 2018):

    dense:  Σ ← W² Σ + b²,   Θ ← Σ + W² Θ
    ReLU:   Σ ← √(ab) (sin ϑ + (π − ϑ) cos ϑ) / 2π,   Θ ← Θ (π − ϑ) / 2π,
            a = Σ(x, x), b = Σ(x', x'), cos ϑ = Σ(x, x') / √(ab)
"""

from math import pi

from torch import Tensor

WEIGHTS, BIASES = 2.0, 0.01  # variances W² and b², of KIP's code
NEAR = 1e-12  # of 1, where the slope of arccos is infinite


def tangent_kernel(one: Tensor, other: Tensor, depth: int) -> Tensor:
    """Return Θ (n, m) of inputs (n, d) and (m, d), differentiable in both; float64 is needed.

    Args:
        depth: hidden layers; 0 is a linear network, Θ = W² ⟨x, x'⟩ / d + b².
    """
    inputs = one.shape[1]
    covariance = dense(one @ other.T / inputs)
    own, theirs = (dense(x.square().sum(1) / inputs) for x in (one, other))
    kernel = covariance
    for _ in range(depth):
        lengths = (own[:, None] * theirs).sqrt()
        cosine = (covariance / lengths).clamp(NEAR - 1, 1 - NEAR)
        angle = cosine.acos()
        kernel = kernel * (pi - angle) / (2 * pi)
        arc = (angle.sin() + (pi - angle) * cosine) / (2 * pi)
        covariance = dense(lengths * arc)
        own, theirs = dense(own / 2), dense(theirs / 2)
        kernel = covariance + WEIGHTS * kernel
    return kernel


def dense(covariance: Tensor) -> Tensor:
    """Return Σ after a dense layer."""
    return WEIGHTS * covariance + BIASES

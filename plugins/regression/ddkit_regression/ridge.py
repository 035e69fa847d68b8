"""Ridge regression from a set to real images, in its dual form, and what is asked of it."""

import torch
from torch import Tensor


def predicted(cross: Tensor, own: Tensor, targets: Tensor, ridge: Tensor | float) -> Tensor:
    """Return K_ts (K_ss + λI)⁻¹ y (B, classes), differentiable in all of it.

    The common form of FRePo (Zhou et al., 2022, Eq. 2), KIP (Nguyen et al., 2021, Eq. 3) and RFAD.

    Args:
        cross: K_ts (B, n), the kernel of real images with those of the set.
        own: K_ss (n, n), positive semi-definite.
        targets: y (n, classes), of the set.
        ridge: λ > 0; where it is near the rounding of K_ss, all must be float64.
    """
    return cross @ solved(factor(own, ridge), targets)


def factor(own: Tensor, ridge: Tensor | float) -> Tensor:
    """Return the Cholesky factor of K + λI (n, n)."""
    diagonal = torch.eye(len(own), dtype=own.dtype, device=own.device)
    # unlike linalg.cholesky it does not wait for the device; λ > 0 makes it definite
    lower: Tensor = torch.linalg.cholesky_ex(own + ridge * diagonal).L
    return lower


def solved(lower: Tensor, right: Tensor) -> Tensor:
    """Return the solution (n, k) of a system whose Cholesky factor is `lower`."""
    return torch.cholesky_solve(right.to(lower.dtype), lower)


def relative(ridge: float, own: Tensor) -> Tensor:
    """Return λ = ridge · tr(K) / n, 0-dim."""
    return ridge * own.diagonal().mean()


def half_squares(predictions: Tensor, truth: Tensor) -> Tensor:
    """Return ½ ‖f − y‖², the mean over images (B, classes), 0-dim."""
    return 0.5 * (predictions - truth).square().sum(1).mean()


def margin(targets: Tensor, most: float) -> Tensor:
    """Return by how much the largest target exceeds the second, the mean over images, 0-dim.

    Each image (of n, classes) counts up to `most`.
    """
    largest, second = targets.topk(2, dim=1).values.unbind(1)
    return (largest - second).clamp_max(most).mean()

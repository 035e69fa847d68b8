"""ZCA whitening: decorrelated pixels that still look like the image.

Conventions of MTT and TESLA (kornia's `ZCAWhitening`): pixels in [0, 1], unbiased covariance,
`eps` = 0.1 added to the eigenvalues. FRePo, KIP and RCIG standardise pixels first, and add `eps`
times the mean eigenvalue.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ddkit.data.pixels.base import Pixels, pixels_of
from ddkit.runtime.arithmetic import EXACT
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.moving import sent

MAX_PIXELS = 64 * 64 * 3  # the covariance takes the square of this in float64: 1.2 GB
# Rows per product. Bytes less 128 have squares of at most 2**14, so that sums over 2**10 rows are
# integers up to 2**24: exact in float32, in whatever order and on however many threads they add up.
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Zca:
    """A whitening transform and its inverse, for images of D = channels x height x width values.

    Attributes:
        mean: float32 (D,), subtracted before whitening.
        matrix: float32 (D, D); whitens, and standardises before where that is wanted.
        inverse: float32 (D, D); undoes `matrix`.
    """

    mean: Tensor
    matrix: Tensor
    inverse: Tensor

    @classmethod
    def fit(cls, images: Tensor | Pixels, eps: float = 0.1, std: Tensor | None = None) -> "Zca":
        """Return the transform W = U diag(1 / sqrt(S + eps)) U' of the covariance U diag(S) U'.

        Args:
            images: (N, channels, height, width), uint8, or floating point in [0, 1]; or where else
                pixels are.
            eps: what is added to every eigenvalue; larger means less whitening of fine detail.
            std: (channels,), above 0; pixels are divided by it first, and eps is relative: a share
                of the mean eigenvalue.

        Raises:
            DdkitError: fewer than two images, images too large, or `eps` not above 0.
        """
        pixels = prod(images.shape[1:])
        if len(images) < 2:
            raise DdkitError(f"ZCA needs at least 2 images, got {len(images)}")
        check_values(pixels)
        if eps <= 0:
            raise DdkitError(f"ZCA's eps must be above 0, got {eps}")
        mean, covariance = _moments(pixels_of(images), pixels)
        scale = covariance.new_ones(pixels)
        if std is not None:
            scale = std.to(covariance).repeat_interleave(pixels // len(std))
            covariance.div_(scale[:, None]).div_(scale)
            eps *= float(covariance.trace()) / pixels
        values, vectors = torch.linalg.eigh(covariance)
        roots = (values.clamp_min(0) + eps).sqrt()  # rounding can leave eigenvalues below 0
        matrix = ((vectors / roots) @ vectors.T).div_(scale[:, None])
        inverse = ((vectors * roots) @ vectors.T).mul_(scale)
        return cls(mean.float(), matrix.float(), inverse.float())

    def whiten(self, images: Tensor) -> Tensor:
        """Return `images` (B, channels, height, width), floating point in [0, 1], whitened."""
        rows = self._rows(images)
        with EXACT.rounding(images.device):  # small numbers come of large ones that cancel
            return ((rows - self.mean.to(rows)) @ self.matrix.to(rows)).view(images.shape)

    def unwhiten(self, images: Tensor) -> Tensor:
        """Return the pixels of whitened `images` (B, channels, height, width)."""
        rows = self._rows(images)
        with EXACT.rounding(images.device):
            return (rows @ self.inverse.to(rows) + self.mean.to(rows)).view(images.shape)

    def to(self, device: torch.device | str) -> "Zca":
        """Return the same transform on `device`."""
        return Zca(*(sent(part, device) for part in (self.mean, self.matrix, self.inverse)))

    def _rows(self, images: Tensor) -> Tensor:
        rows = images.flatten(1)
        if rows.shape[1] != len(self.mean):
            raise DdkitError(
                f"images of shape {tuple(images.shape[1:])} have {rows.shape[1]} values, but this "
                f"ZCA was fitted on images of {len(self.mean)}: use images of that size"
            )
        return rows


def check_values(values: int) -> None:
    """Raise `DdkitError` where images have more values than can be whitened."""
    if values > MAX_PIXELS:
        raise DdkitError(
            f"ZCA of {values} values per image needs a {values} x {values} matrix; "
            f"the limit is {MAX_PIXELS}: use the input space 'standard', or --resize 64"
        )


def _moments(images: Pixels, values: int) -> tuple[Tensor, Tensor]:
    """Return mean (D,) and unbiased covariance (D, D) of pixels in [0, 1], float64 (see CHUNK)."""
    first = images.take(torch.arange(1))
    if first.dtype == torch.uint8:
        dtype, centre, unit = torch.float32, 128.0, 255.0
    else:
        dtype, centre, unit = torch.float64, 0.5, 1.0
    count = len(images)
    total = torch.zeros(values, dtype=torch.float64, device=first.device)
    second = torch.zeros(values, values, dtype=torch.float64, device=first.device)
    for chunk in images.chunks(CHUNK):
        rows = chunk.flatten(1).to(dtype) - centre
        total += rows.sum(0, dtype=torch.float64)
        second += rows.T @ rows
    # n * second - total total' is an integer for uint8, hence free of cancellation.
    covariance = second.mul_(count).sub_(torch.outer(total, total))
    return (total / count + centre) / unit, covariance.div_(count * (count - 1) * unit**2)

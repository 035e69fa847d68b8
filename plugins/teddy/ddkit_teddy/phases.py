"""Phases of a synthesis: images at other sizes, and what they began as mixed in again (FADRM)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit import DdkitError, Run, check_patches
from ddkit_teddy.options_of_phases import PhaseOptions


def turns(options: PhaseOptions, steps: int) -> Sequence[int]:
    """Return the steps before which a new phase begins."""
    ends = {steps * phase // options.phases for phase in range(1, options.phases)}
    return sorted(ends - {0, steps})


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (N, channels, H, W) at a size, bilinearly; as they are where they have it."""
    if images.shape[2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False)


def mixed(images: Tensor, initial: Tensor, residual: float) -> Tensor:
    """Return (1 − r) x + r p, for images x and what they began as, p, scaled to their size."""
    initial = resized(initial.to(images.device), (images.shape[2], images.shape[3]))
    return torch.lerp(images, initial, residual)


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return a batch shifted by 0 … `most` pixels down and to the right, around its edges."""
    down, right = torch.randint(most + 1, (2,), generator=generator).tolist()
    return images.roll((down, right), (2, 3))


def check_phases(run: Run, network: Callable[[Tensor], Tensor]) -> None:
    """Raise `DdkitError` where sizes do not suit the data or the network, or patches the run."""
    options: PhaseOptions = run.options
    if options.choose == "patches":
        if run.config.init != "real":
            raise DdkitError(
                f"choose=patches puts real images together, but --init is {run.config.init}: use "
                "--init real, or --set choose=random"
            )
        check_patches(run)
    channels, height, width = run.shape
    if options.sides and run.space.zca is not None:
        raise DdkitError("sizes: whitened images have one size: leave it out, or --space standard")
    for side in options.sides:
        if height != width or side > height:
            raise DdkitError(
                f"sizes={options.sizes}: these are squares of at most {min(height, width)} pixels "
                f"for data of {height}×{width}"
            )
        try:
            with torch.no_grad():
                network(torch.zeros(2, channels, side, side, device=run.device))
        except RuntimeError as error:
            raise DdkitError(
                f"sizes={options.sizes}: the network {run.config.network} takes no images of "
                f"{side}×{side} pixels: leave sizes out, or choose one that pools over all "
                "positions, such as --network resnet18"
            ) from error

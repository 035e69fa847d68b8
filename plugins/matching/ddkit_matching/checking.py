"""What is wrong with a run before it begins."""

import torch

from ddkit import DdkitError, Run, last_linear_input
from ddkit_matching.gradient import matched_weights


def check_run(run: Run) -> None:
    """Refuse classes without images, and networks without features where these are matched."""
    for name, count in zip(run.classes, run.train.counts.tolist(), strict=True):
        if not count:
            raise DdkitError(
                f"class '{name}' has no training images to match: leave it out (--classes)"
            )
    network = run.network(run.generator("network to look at")).eval()
    if run.options.match == "gradient":
        if not matched_weights(network, run.options.distance):
            raise DdkitError(
                f"distance={run.options.distance} matches gradients of convolutions, and the "
                "network has none: use distance=cosine, or another --network"
            )
    else:
        with torch.no_grad():
            last_linear_input(network, torch.zeros(1, *run.shape, device=run.device))

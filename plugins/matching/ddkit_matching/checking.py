"""What is wrong with a run of DC, DSA or DM before it begins."""

import torch

from ddkit import DdkitError, Run, last_linear_input


def check_run(run: Run) -> None:
    """Refuse classes without images, and networks without features where these are matched."""
    for name, count in zip(run.classes, run.train.counts.tolist(), strict=True):
        if not count:
            raise DdkitError(
                f"class '{name}' has no training images to match: leave it out (--classes)"
            )
    if run.options.match == "distribution":
        network = run.network(run.generator("network to look at")).eval()
        with torch.no_grad():
            last_linear_input(network, torch.zeros(1, *run.shape, device=run.device))

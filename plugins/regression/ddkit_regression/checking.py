"""What is wrong with a run before it begins."""

import torch
from torch import nn

from ddkit import DdkitError, Run, features_and_logits, free_memory, parse_network, readable
from ddkit_regression.first_order import body_of
from ddkit_regression.living import pool_spec
from ddkit_regression.options import RegressionOptions

COPIES = 2  # of the Jacobian, which is put together from parts
SYSTEMS = 4  # of float64: what is summed, the sum, and its factor
SHARE = 1 / 2  # of the free memory


def check_run(run: Run) -> None:
    """Refuse networks without features, and systems that are too large to be solved at once."""
    options: RegressionOptions = run.options
    if options.kernel == "tangent-fc":
        return
    spec = run.config.network if options.kernel == "random" else pool_spec(run, options)
    if options.softplus and options.kernel != "random" and parse_network(spec).name != "convnet":
        raise DdkitError(
            "softplus=true is for networks of the ConvNet family: use --set softplus=false"
        )
    network = run.network(run.generator("network to look at"), spec).eval()
    with torch.no_grad():
        features_and_logits(network, torch.zeros(1, *run.shape, device=run.device))
    if options.kernel == "body" and options.inner == "exact":
        _check_exact(run, network)


def _check_exact(run: Run, network: nn.Module) -> None:
    groups = run.config.groups
    images = len(run.classes) * -(-run.decoded.ipc // groups)
    unknowns = images * (1 + (run.options.flip and run.train.mirror)) * len(run.classes)
    weights = sum(weight.numel() for weight in body_of(network).values())
    needed = unknowns * (COPIES * weights * 4 + SYSTEMS * unknowns * 8)
    if needed > SHARE * free_memory(run.device):
        raise DdkitError(
            f"inner=exact solves for {unknowns} unknowns in {weights} weights at once, which takes "
            f"{readable(needed)}: use --set inner=steps, --groups, or a smaller --network"
        )

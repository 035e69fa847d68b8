"""Features of real images: what the last linear layer of trained networks sees, or the pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddkit import DdkitError, Pool, Run

BATCH = 256


def pixel_features(run: Run, rows: Tensor) -> Tensor:
    """Return the network inputs of the training images at `rows` (int64), flattened: (n, d)."""
    return run.resident.inputs(rows).flatten(1)


@torch.no_grad()
def network_features(run: Run, pool: Pool, members: Sequence[int], rows: Tensor) -> Tensor:
    """Return the features of the training images at `rows` (int64), float32 (n, d).

    Those of several members stand side by side: d is the sum of theirs.
    """
    columns = []
    for member in members:
        network = pool.network(member)
        parts = (run.resident.inputs(part) for part in torch.split(rows, BATCH))
        columns.append(torch.cat([last_linear_input(network, part) for part in parts]))
    return columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)


def last_linear_input(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return what the last linear layer to be called sees of each input, float32 (B, d).

    Raises `DdkitError` where there is none that sees one row per input.
    """
    seen: list[Tensor] = []

    def keep(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen[:] = arguments[:1]

    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(keep) for module in linear]
    try:
        network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen or len(seen[0]) != len(inputs):
        raise DdkitError(
            "the network has no linear layer at its end whose input could be features of an image: "
            "choose another one (--network), or --set features=pixels"
        )
    return seen[0].flatten(1).float()


@torch.no_grad()
def check_network(run: Run) -> None:
    """Raise `DdkitError` where the run's network has no features, before any is trained."""
    network = run.network(run.generator("skeleton")).eval()
    last_linear_input(network, torch.zeros(1, *run.shape, device=run.device))

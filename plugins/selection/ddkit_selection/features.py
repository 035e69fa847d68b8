"""Features of real images: what the last linear layer of trained networks sees, or the pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddkit import DdkitError, Pool, Run, last_linear_input

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
        columns.append(torch.cat([image_features(network, part) for part in parts]))
    return columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)


def image_features(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return what the last linear layer of a network sees of each input, float32 (B, d).

    Raises `DdkitError` where there is none that sees one row per input.
    """
    try:
        return last_linear_input(network, inputs).float()
    except DdkitError as error:
        raise DdkitError(f"{error}, or --set features=pixels") from error


@torch.no_grad()
def check_network(run: Run) -> None:
    """Raise `DdkitError` where the run's network has no features, before any is trained."""
    network = run.network(run.generator("skeleton")).eval()
    image_features(network, torch.zeros(1, *run.shape, device=run.device))

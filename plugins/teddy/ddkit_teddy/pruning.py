"""Random structural pruning with DepGraph (Fang et al., 2023), as Teddy's post pool uses it."""

from typing import Any

import torch
from torch import Tensor, nn

from ddkit import DdkitError, PruningHistory, network_size

SEARCH_STEPS = 12  # halvings of the ratio's interval: to 1/4096


def prune(
    network: nn.Module,
    ratio: float,
    classes: int,
    shape: tuple[int, int, int],
    generator: torch.Generator,
) -> PruningHistory:
    """Cut a random share of the channels of every group of coupled layers, in place.

    Args:
        network: on the CPU; its classifier (the linear layers with `classes` outputs) keeps them.
        ratio: share of channels cut, in (0, 1). On torchvision's ResNet-18 a ratio of 0.19 leaves
            7,717,661 parameters and 1.198 GMACs at 224 px, the paper's figures.
        shape: (channels, height, width) of the images.
        generator: chooses the channels.

    Returns:
        What was cut, without which the weights cannot be loaded again.

    Raises:
        DdkitError: torch-pruning cannot follow the network.
    """
    import torch_pruning as tp  # it imports timm where that is installed, which takes seconds

    def importance(group: Any, **kwargs: Any) -> Tensor:
        """Return torch-pruning's random importance, drawn without global state."""
        _, channels = group[0]
        return torch.rand(len(channels), generator=generator)

    classifier = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == classes
    ]
    try:
        pruner = tp.pruner.BasePruner(
            network,
            torch.zeros(1, *shape),
            importance=importance,
            pruning_ratio=ratio,
            ignored_layers=classifier,
        )
        pruner.step()
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise DdkitError(
            f"torch-pruning cannot prune this network ({error}): use --set pool=prior"
        ) from error
    with torch.no_grad():
        logits = network(torch.zeros(2, *shape))
    if logits.shape != (2, classes):
        raise DdkitError(
            "pruning cut the classifier of this network, which is not a linear layer of "
            f"{classes} outputs: use --set pool=prior"
        )
    return [(name, bool(out), [int(i) for i in cut]) for name, out, cut in pruner.pruning_history()]


def ratio_for(
    build: Any,
    classes: int,
    shape: tuple[int, int, int],
    *,
    parameters: float | None = None,
    macs: float | None = None,
) -> float:
    """Return the pruning ratio that leaves a given share of the parameters or of the MACs.

    Args:
        build: () → the network before pruning, on the CPU.
        parameters, macs: the share left, in (0, 1); one of them.

    Found by bisection: which channels are cut hardly matters for the size.
    """
    whole = network_size(build(), shape)
    low, high = 0.0, 1.0
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        network = build()
        prune(network, middle, classes, shape, torch.Generator().manual_seed(0))
        left = network_size(network, shape)
        share = left[1] / whole[1] if parameters is not None else left[0] / whole[0]
        low, high = (middle, high) if share > (parameters or macs or 0.0) else (low, middle)
    return (low + high) / 2

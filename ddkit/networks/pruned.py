"""Structurally pruned networks: the record of what torch-pruning cut, and cutting it again."""

import torch
from torch import nn

PruningHistory = list[tuple[str, bool, list[int]]]
"""What torch-pruning records: (module, whether output channels, the indices cut), in order."""


def prune_as(network: nn.Module, history: PruningHistory, shape: tuple[int, int, int]) -> nn.Module:
    """Cut `network` in place as `history` says, so that a pruned member's weights fit it.

    Args:
        network: the architecture before pruning, on the CPU.
        history: as `torch_pruning`'s `pruning_history()` returned it.
        shape: (channels, height, width) of its images.
    """
    import torch_pruning as tp  # it imports timm where that is installed, which takes seconds

    example = torch.zeros(1, *shape)
    graph = tp.DependencyGraph().build_dependency(network, example_inputs=example)
    graph.load_pruning_history([tuple(entry) for entry in history])
    return network


def network_size(network: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return (multiply-accumulates of one image, parameters) of a network."""
    import torch_pruning as tp

    parameter = next(network.parameters())
    macs, parameters = tp.utils.count_ops_and_params(
        network, torch.zeros(1, *shape, device=parameter.device)
    )
    return int(macs), int(parameters)

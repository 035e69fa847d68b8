"""The batch norms of a network, and the statistics that they keep."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is imported in the functions: listing networks must not wait for it
    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(network: "nn.Module") -> "list[_BatchNorm]":
    """Return the batch-norm layers of `network`, pruned ones too, in the order of registration.

    For the networks of ddkit that is the order in which an image passes them.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def batch_statistics(networks: "Iterable[nn.Module]") -> "Iterator[None]":
    """Let batch norms normalise with the statistics of the batch they see, in eval mode.

    Their running statistics are out of the way meanwhile, and stay as they are; all other layers
    keep their mode. A batch needs two values per channel.
    """
    layers = [layer for network in networks for layer in batch_norms(network)]
    kept = [(layer.running_mean, layer.running_var) for layer in layers]
    try:
        for layer in layers:
            layer.running_mean = layer.running_var = None
        yield
    finally:
        for layer, (mean, variance) in zip(layers, kept, strict=True):
            layer.running_mean, layer.running_var = mean, variance


def average_statistics(network: "nn.Module", batches: "Iterable[Tensor]") -> None:
    """Set the running statistics of every batch norm to the plain average over `batches`, in place.

    Of all weights as they are now: the batches (network inputs) count alike. Batch norms are left
    in eval mode, other layers see the batches in the mode they are in.
    """
    import torch

    layers = batch_norms(network)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    with torch.no_grad():
        for number, inputs in enumerate(batches, 1):
            for layer in layers:  # torch's own average, momentum None, waits to read its count
                layer.momentum = 1 / number
            network(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()

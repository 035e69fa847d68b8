"""Tensors on their way to a device: the host goes on, and waits for nothing that is asked of it."""

import torch
from torch import Tensor, nn

SMALL = 2**16  # bytes that travel with the command; more would wait in ordinary memory


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on a device; the tensor itself where it is there already.

    What is on the way to a CUDA device may be changed or freed at once. From one to the CPU this
    waits: the host reads what it gets.
    """
    device = torch.device(device)
    if device.type == "cpu" or tensor.device.type != "cpu":
        return tensor.to(device)
    staged = tensor if tensor.nbytes <= SMALL else tensor.pin_memory()
    return staged.to(device, non_blocking=True)


def send(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network to a device, in place as `Module.to` does, and return it."""
    network._apply(lambda tensor: sent(tensor, device))
    return network

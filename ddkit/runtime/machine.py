"""What this machine has: cores, devices."""

import os

import torch

from ddkit.runtime.errors import DdkitError


def available_cores() -> int:
    """Return the cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_device(name: str) -> torch.device:
    """Return a device by name; raises `DdkitError` where there is no such device here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DdkitError(f"--device {name} is not a device: use cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DdkitError(f"--device {name} is not supported: use cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DdkitError(f"--device {name}: torch sees no such CUDA device here; use --device cpu")
    return device


def device_name(device: torch.device) -> str:
    """Return "cpu", or what the CUDA device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

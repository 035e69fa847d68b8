"""Memory that is taken, live tensor bytes on a CPU and the allocator's figure on CUDA, or free."""

import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

GROUP = Path("/sys/fs/cgroup")


class PeakMemory(TorchDispatchMode):
    """Measures the peak of the bytes that live tensors take, above what there was at the start.

    On a CPU it watches every operation, which costs some microseconds each: measure a few steps,
    not a whole run. Storage made before the block does not count, storage that outlives it does.
    On CUDA it reads the allocator and costs nothing.

        with PeakMemory(device) as memory:
            step()
        print(memory.peak)   # bytes
    """

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = torch.device(device)
        self.peak = 0
        self._live = 0
        self._base = 0
        self._seen: set[int] = set()

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._base = torch.cuda.memory_allocated(self.device)
            return self
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device) - self._base
            return
        super().__exit__(*exception)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        known = {_storage(tensor) for tensor in _tensors((*args, *kwargs.values()))}
        result = func(*args, **kwargs)
        for tensor in _tensors((result,)):
            if _storage(tensor) not in known:
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        size = storage.nbytes()
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._live -= size


def weights_of(network: nn.Module) -> int:
    """Return the bytes of a network's parameters and buffers."""
    return sum(tensor.nbytes for tensor in network.state_dict().values())


def free_memory(device: torch.device | str = "cpu") -> int:
    """Return the bytes that are free on a device; on this machine, or in its container's limit."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = Path("/proc/meminfo")
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if lines.exists():
        found = dict(line.split(":") for line in lines.read_text().splitlines())
        free = int(found["MemAvailable"].split()[0]) * 1024
    limit = GROUP / "memory.max"
    if limit.exists() and limit.read_text().strip() != "max":
        used = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
        free = min(free, int(limit.read_text()) - int(used["anon"]))  # the rest can be dropped
    return free


def _tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors on the CPU in what an operation takes or returns."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            if value.is_cpu:
                found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _tensors(value)
    return found


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)

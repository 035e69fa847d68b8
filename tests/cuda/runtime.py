"""What `torch.cuda` says of the made-up device, and what it does there: nothing but wait."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor


class Runtime:
    """Stands for the functions of `torch.cuda` that need a driver.

    Attributes:
        free: bytes of memory that are said to be free.
        random: the state of the device's own generator, which draws where no generator is given.
    """

    def __init__(self, wait: Callable[[str], None]) -> None:
        self.wait = wait
        self.free = 10**11
        self.random: Tensor = torch.Generator().manual_seed(0).get_state()

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Stand in for `torch.cuda` for the time of the block."""
        fakes: dict[str, Any] = {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "_lazy_init": lambda: None,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "get_device_name": lambda *device: "made up",
            "get_device_capability": lambda *device: (9, 0),
            "is_bf16_supported": lambda *device, **options: True,
            "mem_get_info": lambda *device: (self.free, self.free),
            "memory_allocated": lambda *device: 0,
            "max_memory_allocated": lambda *device: 0,
            "reset_peak_memory_stats": lambda *device: None,
            "empty_cache": lambda: None,
            "synchronize": lambda *device: self.wait("torch.cuda.synchronize"),
            "manual_seed": self._seed,
            "manual_seed_all": self._seed,
            "get_rng_state": lambda *device: self.random.clone(),
            "set_rng_state": self._set,
        }
        with ExitStack() as blocks:
            for name, fake in fakes.items():
                blocks.enter_context(mock.patch.object(torch.cuda, name, fake))
            for kind in (torch.cuda.Stream, torch.cuda.Event):
                blocks.enter_context(mock.patch.object(kind, "synchronize", self._synchronize))
            yield

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw from the device's own generator, not from that of the host."""
        host = torch.get_rng_state()
        torch.set_rng_state(self.random)
        try:
            yield
        finally:
            self.random = torch.get_rng_state()
            torch.set_rng_state(host)

    def _seed(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed).get_state()

    def _set(self, state: Tensor, *device: Any) -> None:
        self.random = state.clone()

    def _synchronize(self, *waited_for: Any) -> None:
        self.wait("synchronize")

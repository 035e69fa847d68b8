"""What `torch.cuda` says of the made-up device, and what it does there: nothing but wait."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar
from unittest import mock

import torch


class Generator(torch.Generator):
    """A generator of the made-up device, or of the host; it draws on the host."""

    devices: ClassVar[
        dict[int, torch.device]
    ] = {}  # by its address: torch hands on another wrapper

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made = super().__new__(cls, "cpu")
        cls.devices[made._cdata] = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.devices[self._cdata]


class Runtime:
    """Stands for the functions of `torch.cuda` that need a driver.

    Attributes:
        free: bytes of memory that are said to be free.
        random: the device's own generator, which draws where no generator is given.
    """

    def __init__(self, wait: Callable[[str], None]) -> None:
        self.wait = wait
        self.free = 10**11
        self.random = torch.Generator().manual_seed(0)

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Stand in for `torch.cuda` for the time of the block."""
        fakes: dict[str, Any] = {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "init": lambda: None,
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
            "default_generators": (self.random,),
            "manual_seed": self.random.manual_seed,
            "manual_seed_all": self.random.manual_seed,
            "get_rng_state": lambda *device: self.random.get_state(),
            "set_rng_state": lambda state, *device: self.random.set_state(state),
        }
        with ExitStack() as blocks:
            blocks.enter_context(mock.patch.object(torch, "Generator", Generator))
            for name, fake in fakes.items():
                blocks.enter_context(mock.patch.object(torch.cuda, name, fake))
            for kind in (torch.cuda.Stream, torch.cuda.Event):
                blocks.enter_context(mock.patch.object(kind, "synchronize", self._synchronize))
            yield

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw from the device's own generator, not from that of the host."""
        host = torch.default_generator.get_state()
        torch.default_generator.set_state(self.random.get_state())
        try:
            yield
        finally:
            self.random.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(host)

    def _synchronize(self, *waited_for: Any) -> None:
        self.wait("synchronize")

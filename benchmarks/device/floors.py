"""The floors: what a device computes and moves in a second, and what a step asks of it at least."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.device.parts import Bench
from benchmarks.device.timing import Step, least_seconds
from ddkit.runtime.arithmetic import PRECISIONS, Arithmetic, Precision

LAYOUTS = (torch.contiguous_format, torch.channels_last)


class Operations(TorchDispatchMode):
    """Counts what the convolutions and matrix products of a block compute and move.

    Attributes:
        flops: floating-point operations, two per multiplication and addition (torch's own count).
        bytes: of what they read and write. All other operations could be fused into them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
            tensors = (t for t in tree_leaves((args, kwargs, result)) if torch.is_tensor(t))
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def count(step: Step) -> Operations:
    """Return what a step computes and moves, by taking it."""
    operations = Operations()
    with operations:
        step()
    return operations


@dataclass(frozen=True)
class Floor:
    """The seconds that a step takes at least, and what they go to."""

    seconds: float
    bound: str


@dataclass(frozen=True)
class Floors:
    """What a device reaches with one large operation.

    Attributes:
        bandwidth: bytes/s read and written, in a copy on the device.
        upload: bytes/s from pinned memory to the device; None where there is no way to go.
        products, convolutions: FLOP/s by precision.
    """

    bandwidth: float
    upload: float | None
    products: dict[str, float]
    convolutions: dict[str, float]

    @classmethod
    def measure(cls, bench: Bench) -> "Floors":
        names: Sequence[Precision] = PRECISIONS if bench.cuda else ["fp32"]
        return cls(
            bandwidth(bench),
            upload(bench),
            {name: product_rate(bench, name) for name in names},
            {name: convolution_rate(bench, name) for name in names},
        )

    def of(self, flops: float, moved: float, precision: str) -> Floor:
        """Return the floor of so many operations and bytes: whichever takes longer."""
        arithmetic = flops / max(self.products[precision], self.convolutions[precision])
        memory = moved / self.bandwidth
        return max(
            Floor(arithmetic, "arithmetic"), Floor(memory, "memory"), key=lambda f: f.seconds
        )

    def lines(self) -> Iterator[tuple[str, str]]:
        """Serve (what, rate) for people."""
        yield "copy on the device", f"{self.bandwidth / 1e9:,.1f} GB/s read and written"
        if self.upload is not None:
            yield "copy from pinned memory to the device", f"{self.upload / 1e9:,.1f} GB/s"
        for name, rate in self.products.items():
            yield f"matrix product, {name}", f"{rate / 1e9:,.0f} GFLOP/s"
        for name, rate in self.convolutions.items():
            yield f"convolution, {name}", f"{rate / 1e9:,.0f} GFLOP/s"


def sized(bench: Bench, cuda: int, cpu: int, small: int) -> int:
    """Return how large an operation is that keeps the device busy, or that is over at once."""
    return small if bench.small else cuda if bench.cuda else cpu


def bandwidth(bench: Bench) -> float:
    """Return the bytes/s that a copy far larger than any cache reads and writes."""
    size = sized(bench, 2**30, 2**28, 2**22)
    source = torch.ones(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    return 2 * size / least_seconds(lambda: target.copy_(source), bench.device)


def upload(bench: Bench) -> float | None:
    """Return the bytes/s from pinned memory to the device."""
    if not bench.cuda:
        return None
    size = sized(bench, 2**28, 0, 2**22)
    source = torch.ones(size, dtype=torch.uint8).pin_memory()
    target = torch.empty(size, dtype=torch.uint8, device=bench.device)
    return size / least_seconds(lambda: target.copy_(source, non_blocking=True), bench.device)


def product_rate(bench: Bench, precision: Precision) -> float:
    """Return the FLOP/s of a large matrix product."""
    side = sized(bench, 8192, 1024, 256)
    left = torch.randn(side, side, device=bench.device).to(dtype_of(precision))
    with Arithmetic(precision).rounding(bench.device):
        return 2 * side**3 / least_seconds(lambda: left @ left, bench.device)


def convolution_rate(bench: Bench, precision: Precision) -> float:
    """Return the FLOP/s of a 3×3 convolution of 128 channels, in the better memory layout."""
    batch = sized(bench, 256, 8, 1)
    images = torch.randn(batch, 128, 32, 32, device=bench.device).to(dtype_of(precision))
    weights = torch.randn(128, 128, 3, 3, device=bench.device).to(dtype_of(precision))

    def rate(layout: torch.memory_format) -> float:
        inputs, kernel = (t.contiguous(memory_format=layout) for t in (images, weights))

        def step() -> torch.Tensor:
            return torch.conv2d(inputs, kernel, padding=1)

        return count(step).flops / least_seconds(step, bench.device)

    with Arithmetic(precision).rounding(bench.device):
        return max(rate(layout) for layout in LAYOUTS)


def dtype_of(precision: Precision) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32

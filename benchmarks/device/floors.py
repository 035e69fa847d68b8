"""The floors: what a device computes and moves in a second, and what a step asks of it at least."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.device.timing import Step, least_seconds
from ddkit.arithmetic import Arithmetic, Precision

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
    def measure(cls, device: torch.device) -> "Floors":
        names: list[Precision] = ["fp32", "tf32", "bf16"] if device.type == "cuda" else [
            "fp32", "bf16",
        ]  # fmt: skip
        return cls(
            bandwidth(device),
            upload(device),
            {name: product_rate(device, name) for name in names},
            {name: convolution_rate(device, name) for name in names},
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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bandwidth(device: torch.device) -> float:
    """Return the bytes/s that a copy far larger than any cache reads and writes."""
    size = 2**30 if device.type == "cuda" else 2**28
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / least_seconds(lambda: target.copy_(source), device)


def upload(device: torch.device) -> float | None:
    """Return the bytes/s from pinned memory to the device."""
    if device.type != "cuda":
        return None
    source = torch.ones(2**28, dtype=torch.uint8).pin_memory()
    target = torch.empty(2**28, dtype=torch.uint8, device=device)
    return 2**28 / least_seconds(lambda: target.copy_(source, non_blocking=True), device)


def product_rate(device: torch.device, precision: Precision) -> float:
    """Return the FLOP/s of a large matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    left = torch.randn(side, side, device=device).to(dtype_of(precision))
    with Arithmetic(precision).rounding(device):
        return 2 * side**3 / least_seconds(lambda: left @ left, device)


def convolution_rate(device: torch.device, precision: Precision) -> float:
    """Return the FLOP/s of a 3×3 convolution of 128 channels, in the better memory layout."""
    batch = 256 if device.type == "cuda" else 8
    images = torch.randn(batch, 128, 32, 32, device=device).to(dtype_of(precision))
    weights = torch.randn(128, 128, 3, 3, device=device).to(dtype_of(precision))

    def rate(layout: torch.memory_format) -> float:
        inputs, kernel = (t.contiguous(memory_format=layout) for t in (images, weights))

        def step() -> torch.Tensor:
            return torch.conv2d(inputs, kernel, padding=1)

        return count(step).flops / least_seconds(step, device)

    with Arithmetic(precision).rounding(device):
        return max(rate(layout) for layout in LAYOUTS)


def dtype_of(precision: Precision) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32

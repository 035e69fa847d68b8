"""How a loop computes: precision, memory layout, compiled or not; chosen by measuring.

On a CPU nothing is chosen: every loop computes in float32, as it always did, unless the run says
otherwise. On CUDA each loop measures what it bears on its own first steps, and keeps the answer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from ddkit.runtime.precision import Compiled as Compiled
from ddkit.runtime.precision import Precision as Precision
from ddkit.runtime.timing import step_seconds

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FASTER = 1.1  # what is less exact, or laid out otherwise, has to win by this
COMPILING = 60.0  # seconds; loops that take less than thrice that are not tried compiled
Value = TypeVar("Value", Tensor, nn.Module)
CUDNN: Any = torch.backends.cudnn
CONVOLUTIONS = (CUDNN.conv, CUDNN.rnn)
OPERATIONS = (torch.backends.cuda.matmul, *CONVOLUTIONS)  # whose inputs CUDA may round


@contextmanager
def rounding_kept() -> Iterator[None]:
    """Put back at the end how operations round on CUDA."""
    before = [operation.fp32_precision for operation in OPERATIONS]
    try:
        yield
    finally:
        for operation, precision in zip(OPERATIONS, before, strict=True):
            operation.fp32_precision = precision


@dataclass(frozen=True)
class Arithmetic:
    """How the steps of a loop are computed. Weights, optimiser state and losses stay float32.

    Attributes:
        precision: fp32; tf32, float32 with products of 10 bits on CUDA; bf16, networks under
            autocast.
        channels_last: whether images and convolutions lie in memory channel by channel last.
        compiled: whether networks that are trained go through torch.compile, on CUDA with graphs.
    """

    precision: Precision = "fp32"
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        words = [self.precision, *["channels-last"] * self.channels_last]
        return " ".join([*words, *["compiled"] * self.compiled])

    @contextmanager
    def rounding(self, device: torch.device) -> Iterator[None]:
        """Round products on CUDA as asked for, forward and backward; around a whole step."""
        if device.type != "cuda":
            yield
            return
        with rounding_kept():
            for operation in OPERATIONS:
                operation.fp32_precision = "ieee" if self.precision == "fp32" else "tf32"
            yield

    def casting(self, device: torch.device) -> AbstractContextManager[Any]:
        """Run networks in bfloat16 where asked for; around forward passes only."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def laid_out(self, value: Value) -> Value:
        """Return images (B, C, H, W), or a network, changed in place, in this memory layout."""
        if not self.channels_last:
            return value
        if isinstance(value, nn.Module):
            return value.to(memory_format=torch.channels_last)
        return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value

    def form(
        self, network: nn.Module, device: torch.device, batch_size: int
    ) -> Callable[[Tensor], Tensor]:
        """Return inputs → logits float32 by a network that is trained in place.

        Compiled for batches of this size alone: another one, as an epoch's last may be, would be
        compiled again, and is computed by the network as it is.
        """
        network = self.laid_out(network)
        whole: Callable[[Tensor], Tensor] = network
        if self.compiled:
            mode = "reduce-overhead" if device.type == "cuda" else "default"
            whole = torch.compile(network, mode=mode, dynamic=False)

        def forward(inputs: Tensor) -> Tensor:
            call = whole if len(inputs) == batch_size else network
            return call(self.laid_out(inputs))

        def cast(inputs: Tensor) -> Tensor:
            with self.casting(device):
                return forward(inputs).float()

        return cast if self.precision == "bf16" else forward


EXACT = Arithmetic()
Trial = Callable[[Arithmetic], Iterator[object]]
"""Arithmetic → steps in it: one is taken whenever it is advanced."""


def usual(device: torch.device) -> Arithmetic:
    """Return how loops compute that choose nothing: as the process rounds (`process.settle`)."""
    rounded = device.type == "cuda" and CONVOLUTIONS[0].fp32_precision == "tf32"
    return Arithmetic("tf32" if rounded else "fp32")


@dataclass(frozen=True)
class Loop:
    """What is known of a loop before its arithmetic is chosen.

    Attributes:
        device: where it runs.
        precisions: the precisions that its results are known to bear.
        layouts: whether it lays out images and networks in memory as it is told.
        steps: how many it takes, where it trains networks, which can be compiled; else 0.
    """

    device: torch.device
    precisions: Sequence[Precision]
    layouts: bool = False
    steps: int = 0


@dataclass(frozen=True)
class ArithmeticRequest:
    """What a run asks for. "auto" is float32 on a CPU, and measured on CUDA.

    Attributes:
        precision: of all loops; a loop that does not bear it takes the next more exact one.
        compiled: "auto", "on" or "off".
    """

    precision: Precision | Literal["auto"] = "auto"
    compiled: Compiled = "auto"

    def candidates(self, loop: Loop) -> list[Arithmetic]:
        """Return what a loop may choose from, uncompiled; the first is taken if none is faster.

        A precision that is named leaves no choice, so that no clock decides.
        """
        cuda = loop.device.type == "cuda"
        if self.precision == "auto":
            usual: Sequence[Precision] = ("tf32", "bf16") if cuda else ("fp32",)
            names = [name for name in usual if name in loop.precisions] or ["fp32"]
            layouts = (False, True) if cuda and loop.layouts else (False,)
            return [Arithmetic(name, last) for name in names for last in layouts]
        most = PRECISIONS.index(self.precision)
        borne = [name for name in PRECISIONS[: most + 1] if name in loop.precisions]
        name = borne[-1] if borne else "fp32"
        # a CPU convolves bfloat16 in this layout anyway, a third faster if nothing is reordered
        last = name == "bf16" and not cuda and loop.layouts
        return [Arithmetic(name, last)]

    def measures(self, loop: Loop) -> bool:
        """Return whether a loop has a choice, which only measuring can make."""
        return len(self.candidates(loop)) > 1 or self._tries_compiled(loop)

    def choose(self, loop: Loop, trial: Trial) -> Arithmetic:
        """Return the fastest arithmetic of a loop, measured where there is a choice.

        `trial` gives steps of the loop in an arithmetic, without an end; nothing of them is kept.
        """
        candidates = self.candidates(loop)
        best, taken = candidates[0], 0.0
        if self.measures(loop):
            best, taken = _measured(candidates, trial, loop.device)
        compiled = replace(best, compiled=True)
        if loop.steps and self.compiled == "on":
            return compiled
        if self._tries_compiled(loop) and loop.steps * taken > 3 * COMPILING:
            best, _ = _measured([best, compiled], trial, loop.device)
        return best

    def _tries_compiled(self, loop: Loop) -> bool:
        return bool(loop.steps) and self.compiled == "auto" and loop.device.type == "cuda"


def _measured(
    candidates: Sequence[Arithmetic], trial: Trial, device: torch.device
) -> tuple[Arithmetic, float]:
    return fastest(candidates, step_seconds([trial(each) for each in candidates], device))


def fastest(candidates: Sequence[Arithmetic], seconds: Sequence[float]) -> tuple[Arithmetic, float]:
    """Return the first candidate, or one that is clearly faster, and its seconds of a step."""
    best, least = candidates[0], seconds[0]
    for candidate, taken in zip(candidates[1:], seconds[1:], strict=True):
        if taken * FASTER < least:
            best, least = candidate, taken
    return best, least

"""What a run sets in torch for its whole process, and what puts it back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ddkit.runtime.allocator import keep_large_blocks
from ddkit.runtime.arithmetic import (
    CONVOLUTIONS,
    OPERATIONS,
    ArithmeticRequest,
    Loop,
    Precision,
    rounding_kept,
)


def settle(
    device: torch.device, precision: Precision | Literal["auto"], threads: int | None = None
) -> None:
    """Let this process compute as a run says, wherever a loop does not choose for itself.

    That is how students are trained, images labelled and networks tested: in TF32 at most. Matrix
    products outside of loops are exact, for not all are of networks: some whiten pixels.

    Args:
        device: of the run. On CUDA cuDNN is told to be deterministic: the same run, the same bytes.
        precision: as in `RunConfig`.
        threads: of the CPU; None leaves them as they are.
    """
    keep_large_blocks()
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    rounded = usual_precision(device, precision) == "tf32"
    for operation in OPERATIONS:
        convolves = operation in CONVOLUTIONS
        operation.fp32_precision = "tf32" if rounded and convolves else "ieee"


def usual_precision(device: torch.device, precision: Precision | Literal["auto"]) -> Precision:
    """Return what a run computes in where a loop does not choose for itself."""
    return ArithmeticRequest(precision).candidates(Loop(device, ("fp32", "tf32")))[0].precision


@contextmanager
def unchanged() -> Iterator[None]:
    """Put back at the end what `settle` sets: this process is another's."""
    threads = torch.get_num_threads()
    deterministic = torch.backends.cudnn.deterministic
    benchmark = torch.backends.cudnn.benchmark
    try:
        with rounding_kept():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic
        torch.backends.cudnn.benchmark = benchmark

"""Seconds of a step, as a device works: in blocks without waits, works in turn, their medians."""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from math import inf
from statistics import median

import torch

BLOCKS = 5  # of each work, after a first step that allocates, chooses kernels, compiles
BLOCK = 10  # steps at most
BLOCK_SECONDS = 0.25  # or fewer, where steps take longer


def step_seconds(
    works: Sequence[Iterator[object]], device: torch.device, *, block: int | None = None
) -> list[float]:
    """Return the seconds of a step of each work: the median of its blocks.

    Works take turns, so that whatever else the machine does hits all of them, and one slow step
    decides nothing. The device is waited for around a block, never in it: what counts is how fast
    steps follow each other. The very first step counts only where there is no other.

    Args:
        works: each takes a step when it is advanced; it may end.
        block: the steps of a block; None for up to 10, as many as take a quarter of a second.

    Returns:
        inf for a work that failed: it does not fit, or has no kernel or compiler.

    Raises:
        RuntimeError: that of the last work, where all failed.
    """
    taken: list[list[float]] = [[] for _ in works]
    left = dict(enumerate(works))
    for _ in range(1 + BLOCKS):
        for number, work in tuple(left.items()):
            try:
                if len(left) > 1 and device.type == "cuda":
                    next(work, None)  # others were at the device, and at what they share, since
                taken[number] += _seconds(work, _steps(taken[number], block), device)
            except RuntimeError:  # torch's own, and those of its compiler
                if len(left) == 1:
                    raise
                del left[number]
                taken[number].clear()
    return [median(seconds[1:] or seconds) if seconds else inf for seconds in taken]


def _steps(taken: Sequence[float], block: int | None) -> int:
    """Return how many steps the next block of a work has."""
    if not taken:
        return 1
    return block or max(1, int(BLOCK_SECONDS / max(taken[-1], BLOCK_SECONDS / BLOCK)))


def _seconds(work: Iterator[object], steps: int, device: torch.device) -> list[float]:
    """Return the mean seconds of so many steps, in a list; nothing where the work has ended."""
    wait_for(device)
    began = time.perf_counter()
    count = sum(1 for _ in islice(work, steps))
    wait_for(device)
    return [(time.perf_counter() - began) / count] if count else []


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

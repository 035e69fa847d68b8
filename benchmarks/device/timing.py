"""Seconds of steps, measured so that they compare: the device is waited for, works take turns."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from statistics import median

import torch

from ddkit.timing import wait_for

Step = Callable[[], object]
LEAST, MOST = 2, 20  # rounds that are timed
SHORT = 0.1  # seconds; what the first step does beside its work counts in shorter ones
TRIES, TRY_SECONDS = 10, 0.02  # of what a floor is made of


class TooSlowError(Exception):
    """Even the smallest step takes too much of the time of other figures."""


def numbered(step: Callable[[int], object]) -> Step:
    """Return a step that is given its number, from 0 on, as one that is given nothing."""
    numbers = count()
    return lambda: step(next(numbers))


def seconds_of(step: Step, device: torch.device) -> float:
    """Return how long one step takes, until the device has done it."""
    wait_for(device)
    began = time.perf_counter()
    step()
    wait_for(device)
    return time.perf_counter() - began


def in_turn(steps: Mapping[str, Step], device: torch.device, seconds: float) -> dict[str, float]:
    """Return the median seconds of each step, each taken once per round: noise hits all alike.

    The steps have been taken before. Two rounds, and up to 20 where they fit in `seconds`.
    """
    taken: dict[str, list[float]] = {name: [] for name in steps}
    began = time.perf_counter()
    for number in range(MOST):
        passed = time.perf_counter() - began
        if number >= LEAST and passed * (number + 1) / number > seconds:
            break
        for name, step in steps.items():
            taken[name].append(seconds_of(step, device))
    return {name: median(values) for name, values in taken.items()}


def least_seconds(step: Step, device: torch.device) -> float:
    """Return the least seconds of a step in many tries, as what is a floor should be.

    As many steps are queued in each try as make the waiting for the device small.
    """

    def taken(calls: int) -> float:
        return seconds_of(lambda: [step() for _ in range(calls)], device)

    taken(2)
    calls = 1
    while taken(calls) < TRY_SECONDS:
        calls *= 2
    return min(taken(calls) for _ in range(TRIES)) / calls


def bearable(
    sizes: Sequence[int], step_of: Callable[[int], Step], device: torch.device, seconds: float
) -> int:
    """Return the largest of ascending `sizes` whose step takes at most so many seconds.

    On a CPU a size is not tried where the one before says that it would take too long, in
    proportion. On CUDA, where small steps take as long as large ones, sizes are tried from above,
    and may take thrice the time: other figures take less than theirs.

    Raises:
        TooSlowError: the smallest takes more than four times as long, and would take others' time.
    """
    if device.type == "cuda":
        for size in reversed(sizes[1:]):
            try:
                step = step_of(size)
                step()  # it also loads kernels
                if seconds_of(step, device) <= 3 * seconds:
                    return size
            except torch.OutOfMemoryError:
                continue
        return sizes[0]
    chosen = sizes[0]
    for size, following in zip(sizes, [*sizes[1:], None], strict=True):
        step = step_of(size)
        taken = seconds_of(step, device)
        if taken < SHORT:
            taken = min(taken, seconds_of(step, device))
        if size == sizes[0] and taken > 4 * seconds:
            raise TooSlowError(f"a step of size {size} takes {taken:.1f} s here")
        if size > sizes[0] and taken > seconds:
            break
        chosen = size
        if following is None or taken * following / size > seconds:
            break
    return chosen

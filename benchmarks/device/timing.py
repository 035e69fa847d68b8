"""Seconds of steps, in blocks without waits, taken in turn; what of them the device computes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from statistics import median

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.device.parts import Bench
from ddkit.runtime.timing import wait_for

Step = Callable[[], object]
BLOCK = 10  # steps between waits for a CUDA device
LEAST, MOST = 2, 20  # blocks that are timed
LONG = 0.05  # seconds; longer steps are a block of their own
TRIES, TRY_SECONDS = 10, 0.02  # of what a floor is made of
BUSY = 0.8  # the share of the time in which kernels run, from which on the device binds


@dataclass(frozen=True)
class Timing:
    """How long a step takes.

    Attributes:
        wall: seconds.
        kernels: seconds in which the device computes or copies; None on a CPU.
        launches: how often it is told to; None on a CPU.
    """

    wall: float
    kernels: float | None = None
    launches: int | None = None

    @property
    def bound(self) -> str:
        """What a step waits for: the device, or the host that tells it what to do."""
        if self.kernels is None:
            return ""
        return "device" if self.kernels > BUSY * self.wall else "launches"


def numbered(step: Callable[[int], object]) -> Step:
    """Return a step that is given its number, from 0 on, as one that is given nothing."""
    numbers = count()
    return lambda: step(next(numbers))


def seconds_of(step: Step, device: torch.device, steps: int = 1) -> float:
    """Return how long some steps take, until the device has done them."""
    wait_for(device)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    wait_for(device)
    return time.perf_counter() - began


def in_turn(steps: Mapping[str, Step], bench: Bench, seconds: float) -> dict[str, Timing]:
    """Return the timing of each step: medians over blocks in turn, so that noise hits all alike.

    The steps have been taken before. Two blocks each, and up to 20 where they fit in `seconds`.
    """
    device = bench.device
    blocks = {name: block_of(step, bench) for name, step in steps.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    began = time.perf_counter()
    for number in range(MOST):
        passed = time.perf_counter() - began
        if number >= LEAST and passed * (number + 1) / number > seconds:
            break
        for name, step in steps.items():
            taken[name].append(seconds_of(step, device, blocks[name]) / blocks[name])
    walls = {name: median(values) for name, values in taken.items()}
    return {
        name: Timing(wall, *kernels_of(steps[name], bench, wall)) for name, wall in walls.items()
    }


def block_of(step: Step, bench: Bench) -> int:
    """Return how many steps are taken between waits: ten short ones on CUDA, else one."""
    return BLOCK if bench.cuda and seconds_of(step, bench.device) < LONG else 1


def kernels_of(step: Step, bench: Bench, wall: float) -> tuple[float | None, int | None]:
    """Return the seconds that the device computes in a step, and how many kernels and copies."""
    if not bench.cuda:
        return None, None
    looked = 1 if wall > LONG else BLOCK
    wait_for(bench.device)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(looked):
            step()
        wait_for(bench.device)
    kernels = [
        event.time_range.elapsed_us()
        for event in seen.events() or ()
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    ]
    return sum(kernels) / 1e6 / looked, len(kernels) // looked


def least_seconds(step: Step, device: torch.device) -> float:
    """Return the least seconds of a step in many tries, as what is a floor should be.

    As many steps are queued in each try as make the waiting for the device small.
    """
    seconds_of(step, device, 2)
    calls = 1
    while seconds_of(step, device, calls) < TRY_SECONDS:
        calls *= 2
    return min(seconds_of(step, device, calls) for _ in range(TRIES)) / calls

"""What a step needs, found by taking one: for methods that keep to a memory budget.

Memory does not depend on what weights are, so that untrained networks tell it before a pool is
trained. How the run will compute may not be chosen yet: what counts is the largest of the choices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddkit.pools.pool import MemberInfo, Pool
from ddkit.run import Run
from ddkit.runtime.arithmetic import EXACT, Arithmetic
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.memory import PeakMemory
from ddkit.runtime.progress import Silent
from ddkit.runtime.sizes import BEYOND, readable
from ddkit.synthesis.engine import take_step
from ddkit.synthesis.leaves import LeafState
from ddkit.synthesis.objective import Objective
from ddkit.synthesis.shards import Shard

SECOND = 16  # the larger of the two measured sizes, where so many fit


class HeldPool(Pool):
    """Networks that are in memory already, as the members of a pool: for steps that are tried."""

    def __init__(
        self,
        run: Run,
        networks: Sequence[nn.Module],
        members: Sequence[MemberInfo],
        extras: Sequence[Mapping[str, Tensor]] = (),
    ):
        super().__init__(Path(), run.device, max_loaded=len(networks))
        self.members = tuple(members)
        self.description = {"network": run.config.network}
        self._networks.update(enumerate(networks))
        self._extras = extras

    def state(self, index: int) -> dict[str, Tensor]:
        return self.network(index).state_dict()

    def extras(self, index: int) -> dict[str, Tensor]:
        return dict(self._extras[index]) if self._extras else {}


def untrained_network(run: Run, spec: str | None = None) -> nn.Module:
    """Return a network as pools give them: frozen, in eval mode, on the device; None: the run's."""
    return run.network(run.generator("network to measure"), spec).eval().requires_grad_(False)


def made_up_member(role: str, number: int = 0) -> MemberInfo:
    """Return what a pool would say of a member that is not trained: epoch `number` of a task."""
    return MemberInfo(role, number, role, number, number, {}, None)


def trial_run(run: Run, **options: Any) -> Run:
    """Return the run with other options, without a budget and silent: for steps that are tried."""
    return replace(
        run,
        config=run.config.model_copy(update={"memory_budget": None}),
        options=run.options.model_copy(update=options),
        progress=Silent(),
    )


def first_images(shard: Shard, images: int) -> Shard:
    """Return a shard of the first images of another one."""
    return Shard(shard.index, shard.slots[:images], shard.classes[:images])


def step_peak(objective: Objective, shard: Shard) -> int:
    """Return the peak bytes of a step of a shard: leaves, gradients, optimiser state and graphs.

    Of all ways in which the run may compute it, the one that takes most. The weights of a pool that
    is held are not counted. `BEYOND` where the device has not enough.
    """
    prepared = objective.initialise(shard)

    def step(arithmetic: Arithmetic) -> None:
        leaves = {name: LeafState(leaf, objective.run.device) for name, leaf in prepared.items()}
        drawn = objective.draw(shard, 0)
        for name, leaf in leaves.items():  # from the second step on the optimisers have a state
            tensor = leaf.tensor(drawn.get(name))
            tensor.grad = torch.zeros_like(tensor)
            leaf.update(0.0)
        take_step(objective, shard, leaves, 0, arithmetic)

    peaks = []
    for arithmetic in objective.run.may_choose(objective.precisions, layouts=objective.lays_out):
        objective.compute_with(arithmetic)
        peaks.append(peak_of(partial(step, arithmetic), objective.run.device))
    objective.compute_with(EXACT)
    return max(peaks)


def peak_of(work: Callable[[], object], device: torch.device) -> int:
    """Return the peak bytes of some work; `BEYOND` where the device has not enough.

    cuBLAS keeps its workspace from the first call on. It is dropped before, so that each
    measurement counts it, not the first alone.
    """
    if device.type == "cuda":
        torch._C._cuda_clearCublasWorkspaces()
    try:
        with PeakMemory(device) as memory:
            work()
    except torch.OutOfMemoryError:
        return BEYOND
    return memory.peak


def check_requested(name: str, size: int, peak: Callable[[int], int], budget: int) -> int:
    """Return what the size that was said takes; raises `DdkitError` where it exceeds the budget."""
    taken = peak(size)
    if taken > budget:
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small for {name}={size}, which needs "
            f"{readable(taken)}: lower it, or leave it out"
        )
    return taken


def largest_fitting(peak: Callable[[int], int], budget: int, limit: int, what: str) -> int:
    """Return the largest size of 1 … `limit` whose peak memory is within `budget`.

    Two sizes are measured: memory grows by as much with each further image. The answer is measured
    too, and lowered while it does not fit after all.

    Args:
        peak: size → bytes, `BEYOND` where there are not so many.
        budget: in bytes.
        limit: the largest size that makes sense.
        what: what has this size, for the error message, such as "a segment".

    Raises:
        DdkitError: size 1 does not fit; the message says how much it needs.
    """
    least = peak(1)
    if least >= BEYOND:
        raise DdkitError(
            f"{what} of 1 image, the smallest, does not fit on the device beside what is already "
            "there: free some of its memory, or use a smaller network"
        )
    if least > budget:
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small: {what} of 1 image, the smallest, "
            f"needs {readable(least)}"
        )
    if limit == 1:
        return 1
    second = min(limit, SECOND)
    slope = max(1.0, (peak(second) - least) / (second - 1))
    size = min(limit, 1 + int((budget - least) / slope))
    while size > 1 and peak(size) > budget:
        size = max(1, int(size * 0.95))
    return size


def bytes_needed(peak: Callable[[int], int], budget: int, size: int) -> int:
    """Return the bytes that a size needs, as two smaller ones say; measured only where it fits.

    Args:
        peak, budget: as for `largest_fitting`; one image alone is not measured, which has no
            statistics.
    """
    first, second = min(2, size), min(SECOND, size)
    low, high = peak(first), peak(second)
    if second == size:
        return high
    guess = low + (high - low) * (size - first) // (second - first)
    return peak(size) if guess <= budget else guess

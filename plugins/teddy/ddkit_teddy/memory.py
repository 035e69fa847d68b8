"""The segment that a memory budget allows, and the room for members."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ddkit import (
    HeldPool,
    Objective,
    Pool,
    Run,
    Silent,
    bytes_needed,
    check_requested,
    first_images,
    largest_fitting,
    made_up_member,
    readable,
    step_peak,
    trial_run,
    untrained_network,
    weights_of,
)
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.post import pruning_ratio
from ddkit_teddy.pruning import prune
from ddkit_teddy.statistics import measure

ObjectiveOf = Callable[[Run, Pool], Objective]


def check_budget(run: Run, objective: ObjectiveOf) -> None:
    """Raise `DdkitError` where a run's budget is too small, before its pool is trained.

    A pool of another method has one member at least; how many is known when it is there.
    """
    pool_run = replace(run, options=run.pool_options)
    own = isinstance(pool_run.options, TeddyOptions)
    members = pool_run.options.pool_members() if own else 1
    network = untrained_network(run)
    if own and pool_run.options.pool == "post":
        network = network.cpu()
        prune(
            network,
            pruning_ratio(pool_run),
            len(run.classes),
            run.shape,
            run.generator("channels to measure without"),
        )
        network = copy.deepcopy(network).to(run.device)  # without pruning's graph
    extras: list[Mapping[str, Tensor]] = []
    drawn = min(run.options.teachers, members)
    if run.options.statistics != "running":
        images = torch.zeros(2, *run.shape, device=run.device)
        labels = torch.zeros(2, dtype=torch.int64, device=run.device)
        extras = [measure(network, [(images, labels)], len(run.classes))] * drawn
    silent = replace(run, progress=Silent())
    fitting_sizes(silent, objective, [network] * drawn, extras, members)


def fitting_sizes(
    run: Run,
    objective: ObjectiveOf,
    networks: Sequence[nn.Module],
    extras: Sequence[Mapping[str, Tensor]],
    members: int,
) -> dict[str, int]:
    """Return the `segment` that was asked for, or the largest that keeps to the run's budget.

    0, the whole batch in one forward pass, is chosen where the graphs of all drawn members fit. In
    what is left further members may be held: all may take `room` bytes, the drawn ones included.
    Counted are the drawn members' weights, what all members saw in real data, images, gradient,
    Adam's state, and what is live in a step of the largest batch.

    Args:
        objective: (run, pool) → the objective.
        networks: n members, frozen, on the device.
        extras: what was measured of real data with each of them, or nothing.
        members: how many the pool has.

    Raises:
        DdkitError: the segment that was asked for, or one of 1 image, does not fit.
    """
    options: TeddyOptions = run.options
    budget: int = run.config.memory_budget or 0
    infos = [made_up_member("teacher", number) for number in range(len(networks))]
    pool = HeldPool(run, networks, infos, extras)
    plain = objective(trial_run(run, segment=0), pool)
    largest = max(plain.shards(), key=len)
    classwise = options.statistics == "classwise"  # kept in float32: a quarter of the two sums
    seen = sum(tensor.nbytes for tensor in extras[0].values()) // 4 if classwise else 0
    weights = sum(weights_of(network) for network in networks)
    held = weights + (members - 1) * seen
    found: dict[int, int] = {}

    def whole(images: int) -> int:
        return held + step_peak(plain, first_images(largest, images))

    def apart(segment: int) -> int:
        """Measure a step with one member: the others come after it, and take no more."""
        step = objective(trial_run(run, segment=segment, teachers=1), pool)
        found[segment] = held + step_peak(step, largest)
        return found[segment]

    if options.segment:
        segment, taken = options.segment, check_requested("segment", options.segment, apart, budget)
    else:
        segment, taken = 0, bytes_needed(whole, budget, len(largest))
        what = f"whole batches of {len(largest)} images"
        if taken > budget:
            segment = largest_fitting(apart, budget, len(largest), "a segment")
            what, taken = f"segments of {segment} images", found[segment]
        run.progress.note(f"{what} keep to {readable(budget)}")
    return {"segment": segment, "room": budget - taken + weights}

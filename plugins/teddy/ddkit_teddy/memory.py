"""The segment that a memory budget allows, and the room for members."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ddkit import (
    HeldPool,
    Objective,
    Pool,
    Run,
    Shard,
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
# Networks that are tried have no figure to weight them, and choose no patches, which would stay;
# images are tried at the size of the data, the largest.
TRIAL: dict[str, Any] = {"weights": "equal", "choose": "random", "sizes": ""}


def check_budget(run: Run, objective: ObjectiveOf) -> None:
    """Raise `DdkitError` where a run's budget is too small, before its pool is trained.

    A pool of another method has one member at least; how many is known when it is there.
    """
    pool_run = replace(run, options=run.pool_options)
    own = isinstance(pool_run.options, TeddyOptions)
    members = pool_run.options.pool_members() if own else 1
    committee = pool_run.options.committee if own else ()
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
    networks = [network] * min(run.options.teachers, members)
    if committee:
        networks = [untrained_network(run, spec) for spec in committee]
    if run.options.statistics != "running":
        images = torch.zeros(2, *run.shape, device=run.device)
        labels = torch.zeros(2, dtype=torch.int64, device=run.device)
        also = run.options.layers != "norms"
        measured = {
            each: measure(each, [(images, labels)], len(run.classes), convolutions=also)
            for each in set(networks)
        }
        extras = [measured[each] for each in networks]
    silent = replace(run, progress=Silent())
    fitting_sizes(silent, objective, networks, extras, members)


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
        networks: n members, frozen, on the device; where members differ, all of them, of which
            those count that take most.
        extras: what was measured of real data with each of them, or nothing.
        members: how many the pool has.

    Raises:
        DdkitError: the segment that was asked for, or one of 1 image, does not fit.
    """
    options: TeddyOptions = run.options
    budget: int = run.config.memory_budget or 0

    def trial(count: int, segment: int) -> Objective:
        """Return steps with the first `count` of the networks."""
        infos = [made_up_member("teacher", number) for number in range(count)]
        pool = HeldPool(run, networks[:count], infos, extras[:count])
        return objective(trial_run(run, **TRIAL, segment=segment, teachers=count), pool)

    largest = max(trial(1, 0).shards(), key=len)
    drawn = min(options.teachers, len(networks))
    if len({weights_of(network) for network in networks}) > 1:
        networks, extras = _heaviest_first(run, objective, networks, extras, largest)
    networks, extras = networks[:drawn], extras[:drawn]
    plain = trial(drawn, 0)
    classwise = options.statistics == "classwise"  # kept in float32: a quarter of the two sums
    seen = sum(tensor.nbytes for tensor in extras[0].values()) // 4 if classwise else 0
    weights = sum(weights_of(network) for network in networks)
    held = weights + (members - 1) * seen
    found: dict[int, int] = {}

    def whole(images: int) -> int:
        return held + step_peak(plain, first_images(largest, images))

    def apart(segment: int) -> int:
        """Measure a step with one member: the others come after it, and take no more."""
        step = trial(1, segment)
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


def _heaviest_first(
    run: Run,
    objective: ObjectiveOf,
    networks: Sequence[nn.Module],
    extras: Sequence[Mapping[str, Tensor]],
    largest: Shard,
) -> tuple[list[nn.Module], list[Mapping[str, Tensor]]]:
    """Return the networks, and what was measured with them, by the memory of a small step."""
    images = first_images(largest, 16)
    taken = []
    for number, network in enumerate(networks):
        pool = HeldPool(run, [network], [made_up_member("teacher")], extras[number : number + 1])
        step = objective(trial_run(run, **TRIAL, segment=0, teachers=1), pool)
        taken.append(step_peak(step, images) + weights_of(network))
    order = sorted(range(len(networks)), key=lambda number: -taken[number])
    return [networks[number] for number in order], [extras[n] for n in order if n < len(extras)]

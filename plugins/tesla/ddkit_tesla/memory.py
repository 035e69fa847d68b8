"""The micro-batch that a memory budget allows, and how many students and graphs are kept."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod

import torch
from torch import Tensor, nn

from ddkit import (
    DSA_STRATEGY,
    DdkitError,
    HeldPool,
    Objective,
    Pool,
    Run,
    Shard,
    apply_dsa,
    available_cores,
    batch_norms,
    bytes_needed,
    check_requested,
    draw_dsa,
    first_images,
    free_memory,
    group_shards,
    largest_fitting,
    made_up_member,
    peak_of,
    readable,
    step_peak,
    trial_run,
    untrained_network,
    weights_of,
)
from ddkit_tesla.experts import ROLE
from ddkit_tesla.matching import Batch, Steps
from ddkit_tesla.options import TeslaOptions
from ddkit_tesla.students import Snapshots, as_function

ObjectiveOf = Callable[[Run, Pool], Objective]
NETWORKS = 4  # θ_t, θ_{t+M}, the student's skeleton, the teacher that labels
TRIED_STEPS = 2  # of a student: what a further one adds is θ
DRAWN = {"dsa": 72, "none": 8}  # bytes that a student step draws for an image, with its row
COPIES = 4  # of an image that no tried step sees: value, momentum, gradient, the latter's copy
SHARE = 1 / 4  # of the free memory, that a step may take with kept graphs
ALONE = 2  # graphs, that a step takes without kept ones (measured: 1.6)
GRAPH_IMAGES = 32  # that a graph is measured on, at most


def fitting_sizes(run: Run, objective: ObjectiveOf) -> dict[str, int]:
    """Return a `micro_batch` (0: the batch), `snapshot_every` and `kept_graphs` within the budget.

    What was said is kept. Else the whole batch is taken, or the largest micro-batch that fits. Only
    every √T-th student is kept where all of them leave no room for one image, and graphs where
    there is room left. An untrained network stands for the experts: no pool is needed.

    Args:
        objective: (run, pool) → the objective.

    Raises:
        DdkitError: what was said, or a micro-batch of 1 image, does not fit; or the batch, where
            the network needs it whole.
    """
    options: TeslaOptions = run.options
    budget: int = run.config.memory_budget or 0
    trial = Trial.of(run, objective)
    free = options.snapshot_every == 1 and not trial.students_rest
    tried_first, last = ((1,), 0) if free else ((), options.snapshot_every)
    if batch_norms(trial.network):
        taken = 0
        for every in (*tried_first, last):
            taken = bytes_needed(partial(trial.whole, every=every), budget, trial.batch)
            if taken <= budget:
                return _noted(trial, 0, every, budget - taken)
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small: a step on {trial.batch} images "
            f"needs {readable(taken)}, but this network has batch norms, whose statistics need "
            "the whole batch: lower batch_syn, or use a network with instance or group norm"
        )
    least = options.micro_batch or 1
    every = next((e for e in tried_first if trial.cut(least, every=e) <= budget), last)
    peak = partial(trial.cut, every=every)
    if options.micro_batch:
        size = options.micro_batch
        check_requested("micro_batch", size, peak, budget)
    else:
        size = largest_fitting(peak, budget, trial.batch, "a micro-batch")
    left = budget - peak(size)
    return _noted(trial, size if options.micro_batch or size < trial.batch else 0, every, left)


def kept_graphs(run: Run, objective: ObjectiveOf) -> int:
    """Return how many graphs are kept without a budget: what free memory has room for.

    A step takes a quarter of it with them, on a CPU that of the run's threads: there may be as many
    runs as cores. None are kept where a step takes as much without.
    """
    options: TeslaOptions = run.options
    trial = Trial.of(run, objective)
    part = min(options.micro_batch or trial.batch, trial.batch)
    cores = min(1.0, run.config.threads / available_cores()) if run.device.type == "cpu" else 1.0
    room = SHARE * cores * free_memory(run.device) - ALONE * part * trial.graph
    return trial.fitting(room, part, options.snapshot_every)


def _noted(trial: "Trial", size: int, every: int, left: int) -> dict[str, int]:
    run = trial.run
    kept = trial.said
    if kept is None:
        kept = trial.fitting(left, size or trial.batch, every)
    what = f"micro-batches of {size} images" if size else f"whole batches of {trial.batch} images"
    students = "" if every == 1 else ", with some students kept and the others made again,"
    graphs = f", with {kept} graphs kept," if kept else ""
    budget = readable(run.config.memory_budget or 0)
    run.progress.note(f"{what}{students}{graphs} keep to {budget}")
    return {"micro_batch": size, "snapshot_every": every, "kept_graphs": kept}


@dataclass(frozen=True)
class Trial:
    """Matchings of few student steps, and what the whole of a step takes by them.

    Attributes:
        network: untrained, in the place of all experts.
        largest: the shard that takes most.
    """

    run: Run
    objective: ObjectiveOf
    network: nn.Module
    largest: Shard

    @classmethod
    def of(cls, run: Run, objective: ObjectiveOf) -> "Trial":
        return cls(run, objective, untrained_network(run), group_shards(run, run.config.groups)[0])

    @property
    def batch(self) -> int:
        """The images of a student step."""
        return min(self.run.options.batch_syn or len(self.largest), len(self.largest))

    @property
    def said(self) -> int | None:
        """The kept graphs that the user asks for; None where as many as fit are wanted."""
        kept = self.run.options.kept_graphs
        return None if kept == "auto" else min(kept, self.run.options.student_steps)

    @property
    def students_rest(self) -> bool:
        """Whether students that wait for pass 2 take none of the device's memory."""
        return bool(self.run.options.snapshots == "host" and self.run.device.type != "cpu")

    def whole(self, images: int, *, every: int) -> int:
        """Return the peak bytes of a step whose batches are of so many images."""
        return self._peak(images, 0, every)

    def cut(self, size: int, *, every: int) -> int:
        """Return the peak bytes of a step in micro-batches: two of them say what all take."""
        if size >= self.batch:
            return self._peak(self.batch, 0, every)
        return self._peak(min(2 * size, self.batch), size, every)

    def _peak(self, images: int, micro_batch: int, every: int) -> int:
        options: TeslaOptions = self.run.options
        epochs = options.max_start_epoch + options.expert_epochs
        pool = HeldPool(
            self.run,
            [self.network] * epochs,
            [made_up_member(ROLE, number) for number in range(epochs)],
        )
        steps = min(TRIED_STEPS, options.student_steps)
        run = trial_run(
            self.run,
            batch_syn=0,
            micro_batch=micro_batch,
            student_steps=steps,
            snapshot_every=1,
            kept_graphs=0,
        )
        peak = step_peak(self.objective(run, pool), first_images(self.largest, images))
        further = self._students(options.student_steps, every) - self._students(steps, 1)
        drawn = min(len(self.largest), options.student_steps * self.batch)
        copies = COPIES + bool(options.average)
        rest = (drawn - images) * copies * prod(self.run.shape) * 4
        undrawn = options.student_steps * self.batch - steps * images
        rest += undrawn * DRAWN[options.augmentation]
        part, batch = (micro_batch, self.batch) if micro_batch else (images, images)
        rest += self.beyond(self.said or 0, part, every, batch)
        return peak + (NETWORKS + further) * weights_of(self.network) + rest

    def fitting(self, room: float, part: int, every: int) -> int:
        """Return the most graphs that take no more than `room` beyond a step without them."""
        counts = range(self.run.options.student_steps, 0, -1)
        return next((n for n in counts if self.beyond(n, part, every, self.batch) <= room), 0)

    def beyond(self, kept: int, part: int, every: int, batch: int) -> int:
        """Return the bytes that a step takes more where graphs of whole batches are kept.

        One graph, of a part of a batch, is there without them, too.
        """
        if not kept:
            return 0
        steps = self.run.options.student_steps
        students = self._students(steps - kept, every) + kept - self._students(steps, every)
        graphs = max(0, kept * batch - part) * self.graph
        return round(graphs) + students * weights_of(self.network)

    @cached_property
    def graph(self) -> float:
        """The bytes of a student step's graph for each image, at most: whatever augments it."""
        options: TeslaOptions = self.run.options
        images, classes, device = min(GRAPH_IMAGES, self.batch), self.run.classes, self.run.device
        pixels = torch.zeros(images, *self.run.shape, device=device)
        labels = torch.full((images, len(classes)), 1 / len(classes), device=device)
        batch = Batch(torch.arange(images, device=device))
        learned = options.labels == "learned"
        steps = Steps(as_function(self.network), [batch], pixels, labels, 0, learned)
        student: list[Tensor] = list(self.network.parameters())

        def made(count: int) -> int:
            return peak_of(lambda: [[*steps.graphs(student, 0)] for _ in range(count)], device)

        taken = made(2) - made(1)  # what is there in between only is not kept
        if options.augmentation == "dsa":
            pixels.requires_grad_()
            taken += max(self._augmented(pixels, name) for name in DSA_STRATEGY.split("_"))
        return taken / images

    def _augmented(self, pixels: Tensor, operation: str) -> int:
        """Return the bytes that one operation of DSA takes."""
        drawn = draw_dsa(len(pixels), self.run.shape[1:], torch.Generator(), strategy=operation).to(
            pixels.device
        )
        return peak_of(lambda: apply_dsa(pixels, drawn), pixels.device)

    def _students(self, steps: int, every: int) -> int:
        return Snapshots("host" if self.students_rest else "device", every).most(steps)

"""The micro-batch that a memory budget allows, and how often a student is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

from torch import nn

from ddkit import DdkitError, Objective, Run
from ddkit.budget import largest_fitting, needed, readable
from ddkit.fitting import (
    HeldPool,
    check_said,
    member,
    part_of,
    step_peak,
    tried,
    untrained,
    weights_of,
)
from ddkit.networks import batch_norms
from ddkit.objective import Shard, group_shards
from ddkit.pool import Pool
from ddkit_tesla.experts import ROLE
from ddkit_tesla.options import TeslaOptions
from ddkit_tesla.students import Snapshots

ObjectiveOf = Callable[[Run, Pool], Objective]
NETWORKS = 4  # θ_t, θ_{t+M}, the student's skeleton, the teacher that labels
TRIED_STEPS = 2  # of a student: what a further one adds is θ
DRAWN = {"dsa": 72, "none": 8}  # bytes that a student step draws for an image, with its row
COPIES = 4  # of an image that no tried step sees: value, momentum, gradient, the latter's copy


def fitting_sizes(run: Run, objective: ObjectiveOf) -> dict[str, int]:
    """Return the `micro_batch` (0: the batch) and `snapshot_every` that keep to the run's budget.

    What was said is kept. Else the whole batch is taken, or the largest micro-batch that fits. Only
    every √T-th student is kept where all of them leave no room for one image. An untrained network
    stands for the experts: no pool is needed.

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
        bytes_needed = 0
        for every in (*tried_first, last):
            bytes_needed = needed(partial(trial.whole, every=every), budget, trial.batch)
            if bytes_needed <= budget:
                return _noted(run, trial.batch, 0, every)
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small: a step on {trial.batch} images "
            f"needs {readable(bytes_needed)}, and this network has batch norms, whose statistics "
            "need the whole batch: lower batch_syn, or use a network with instance or group norm"
        )
    least = options.micro_batch or 1
    every = next((e for e in tried_first if trial.cut(least, every=e) <= budget), last)
    peak = partial(trial.cut, every=every)
    if options.micro_batch:
        size = check_said("micro_batch", options.micro_batch, peak, budget)
    else:
        size = largest_fitting(peak, budget, trial.batch, "a micro-batch")
    return _noted(run, trial.batch, size if options.micro_batch or size < trial.batch else 0, every)


def _noted(run: Run, batch: int, size: int, every: int) -> dict[str, int]:
    what = f"micro-batches of {size} images" if size else f"whole batches of {batch} images"
    students = "" if every == 1 else ", with some students kept and the others made again,"
    run.progress.note(f"{what}{students} keep to {readable(run.config.memory_budget or 0)}")
    return {"micro_batch": size, "snapshot_every": every}


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
        return cls(run, objective, untrained(run), group_shards(run, run.config.groups)[0])

    @property
    def batch(self) -> int:
        """The images of a student step."""
        return min(self.run.options.batch_syn or len(self.largest), len(self.largest))

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
            self.run, [self.network] * epochs, [member(ROLE, number) for number in range(epochs)]
        )
        steps = min(TRIED_STEPS, options.student_steps)
        run = tried(
            self.run, batch_syn=0, micro_batch=micro_batch, student_steps=steps, snapshot_every=1
        )
        peak = step_peak(self.objective(run, pool), part_of(self.largest, images))
        further = self._students(options.student_steps, every) - self._students(steps, 1)
        drawn = min(len(self.largest), options.student_steps * self.batch)
        rest = (drawn - images) * COPIES * prod(self.run.shape) * 4
        undrawn = options.student_steps * self.batch - steps * images
        rest += undrawn * DRAWN[options.augmentation]
        return peak + (NETWORKS + further) * weights_of(self.network) + rest

    def _students(self, steps: int, every: int) -> int:
        return Snapshots("host" if self.students_rest else "device", every).most(steps)

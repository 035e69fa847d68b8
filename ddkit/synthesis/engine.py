"""The engine: shards, steps, checkpoints. It has one path, whatever the method.

    loss.backward() · optimiser steps · constraints · next

Each shard ends in a file of its own; a killed run goes on from the last checkpoint of each.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, repeat, takewhile
from math import isfinite

import torch
from torch import Tensor

from ddkit.run import Run
from ddkit.runtime.arithmetic import EXACT, Arithmetic
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor, Unit
from ddkit.runtime.interrupt import Stopped, stop_requested
from ddkit.runtime.memory import PeakMemory
from ddkit.runtime.progress import Task
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.runtime.timing import BLOCKS, step_seconds
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.journal import Journal
from ddkit.synthesis.leaves import LeafState
from ddkit.synthesis.objective import Objective
from ddkit.synthesis.shard_file import ShardFile, write_snapshot
from ddkit.synthesis.shards import Shard

CHECKPOINT_SECONDS = 30.0  # at most; in the beginning whenever the time has doubled
SHOW_SECONDS = 0.5  # reading the loss waits for the device: seldom enough to cost nothing
MEASURED_STEPS = 2  # peak memory is measured over these first steps of a phase


@dataclass
class Engine:
    """Optimises the shards of an objective inside a run's folder."""

    run: Run
    objective: Objective
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    snapshot_every: int = 0
    journal: Journal = field(default_factory=Journal)

    def synthesise(self, executor: Executor = LOCAL) -> None:
        """Optimise every shard that is not finished yet; raises `Stopped` on request."""
        shards = self.objective.shards()
        self._check_cover(shards)
        units = [
            Unit(
                str(shard.index),
                partial(self.optimise, shard),
                {"shard": shard.index},
                size=self.objective.steps,
            )
            for shard in shards
            if not self.file(shard).exists()
        ]
        job = self.run.job(
            "synthesis",
            "ddkit.pipeline.work:optimise_shard",
            snapshot_every=self.snapshot_every,
        )
        done = (len(shards) - len(units)) * self.objective.steps
        executor.run(job, units, self.run.progress, done)
        for shard in shards:  # those that were done elsewhere, or earlier
            self.journal.finished(shard.index, self.file(shard))

    def pace(self, steps: int, seconds: float) -> float:
        """Return the seconds of a step of the first shard; nothing is stored.

        At most `steps` steps are taken, and no further one after `seconds`; the first is not
        counted where there are more, for it allocates and chooses kernels.
        """
        ends = time.perf_counter() + seconds
        numbers = takewhile(
            lambda number: not number or time.perf_counter() <= ends,
            range(max(1, min(steps, self.objective.steps))),
        )
        taken = self._steps(numbers, self._prepared())
        return step_seconds([taken], self.run.device, block=max(1, steps // BLOCKS))[0]

    def first_step(self) -> tuple[Synthetic, int]:
        """Return the first shard's images after one step, and its peak bytes; nothing is stored."""
        arithmetic = self._prepared()
        shard = self.objective.shards()[0]
        leaves = self._leaves(shard)
        with PeakMemory(self.run.device) as memory:
            take_step(self.objective, shard, leaves, 0, arithmetic)
        return self.objective.decode(shard, values(leaves)), memory.peak

    def file(self, shard: Shard) -> ShardFile:
        """Return the file that a shard leaves."""
        return ShardFile.of(self.run.folder, shard.index)

    def optimise(self, shard: Shard, task: Task) -> None:
        """Optimise one shard from its checkpoint, if there is one, to its file.

        Raises:
            DdkitError: a loss or a leaf is not finite any more.
            Stopped: on request, after a checkpoint was written.
        """
        steps = self.objective.steps
        arithmetic = self._prepared() if steps else EXACT
        leaves = self._leaves(shard)
        initial = self.objective.decode(shard, values(leaves)).images.clone()
        losses = torch.zeros(steps, device=self.run.device)
        start, peak = self._resume(shard, leaves, losses)
        task.advance(start)
        self.journal.begun(shard.index, initial)
        began = saved = shown = time.monotonic()
        good = start  # the step of the last checkpoint
        turn = max((turn for turn in self.objective.turns if turn < start), default=0)
        for step in range(start, steps):
            if step in self.objective.turns:
                turn = step
                self._turn(shard, leaves, step)
            if step - turn < MEASURED_STEPS:
                with PeakMemory(self.run.device) as memory:
                    losses[step] = take_step(self.objective, shard, leaves, step, arithmetic)
                peak = max(peak, memory.peak)
            else:
                losses[step] = take_step(self.objective, shard, leaves, step, arithmetic)
            task.advance()
            now = time.monotonic()
            stop = stop_requested()
            if now - shown > SHOW_SECONDS:
                self._check_sound(shard, leaves, losses, good, step + 1)
                task.show(loss=f"{losses[step].item():.4g}")
                self.journal.losses(shard.index, losses, step + 1)
                shown = now
            if stop or now - saved >= min(self.checkpoint_seconds, saved - began):
                self._save(shard, leaves, losses, good, step + 1, peak)
                saved, good = now, step + 1
                self.journal.images(shard.index, partial(self._images, shard, leaves), good)
            if self.snapshot_every and (step + 1) % self.snapshot_every == 0:
                self._snapshot(shard, leaves, step + 1)
            if stop:
                raise Stopped
        self._check_sound(shard, leaves, losses, good, steps)
        final = self.objective.decode(shard, values(leaves))
        self.file(shard).write(shard, final, initial, losses, peak)
        self.file(shard).checkpoint.unlink(missing_ok=True)
        self.journal.finished(shard.index, self.file(shard))

    def _images(self, shard: Shard, leaves: dict[str, LeafState]) -> Tensor:
        return self.objective.decode(shard, values(leaves)).images

    def _leaves(self, shard: Shard) -> dict[str, LeafState]:
        return {
            name: LeafState(leaf, self.run.device)
            for name, leaf in self.objective.initialise(shard).items()
        }

    def _turn(self, shard: Shard, leaves: dict[str, LeafState], step: int) -> None:
        """Let the leaves begin anew that do so before a step."""
        for name, value in self.objective.renewed(shard, values(leaves), step).items():
            leaves[name] = LeafState(replace(leaves[name].leaf, value=value), self.run.device)

    def _prepared(self) -> Arithmetic:
        """Return how steps are computed, with the objective prepared for it."""

        def trial(arithmetic: Arithmetic) -> Iterator[Tensor]:
            again = repeat(min(1, self.objective.steps - 1))  # some begin something in step 0
            return self._steps(chain([0], again), arithmetic)

        arithmetic = self.run.arithmetic(
            "the synthesis", self.objective.precisions, trial, layouts=self.objective.lays_out
        )
        self.objective.compute_with(arithmetic)
        return arithmetic

    def _steps(self, numbers: Iterable[int], arithmetic: Arithmetic) -> Iterator[Tensor]:
        """Take the steps of these numbers of the first shard, of which nothing is stored."""
        shard = self.objective.shards()[0]
        leaves = self._leaves(shard)
        for number in numbers:
            self.objective.compute_with(arithmetic)  # steps in another may have come between
            yield take_step(self.objective, shard, leaves, number, arithmetic)

    def _save(
        self,
        shard: Shard,
        leaves: dict[str, LeafState],
        losses: Tensor,
        good: int,
        step: int,
        peak: int,
    ) -> None:
        self._check_sound(shard, leaves, losses, good, step)
        tensors = {
            f"leaf.{name}.{key}": tensor
            for name, leaf in leaves.items()
            for key, tensor in leaf.state_dict().items()
        }
        tensors |= {f"objective.{k}": tensor for k, tensor in self.objective.state_dict().items()}
        write_tensors(
            self.file(shard).checkpoint, tensors | {"losses": losses}, {"step": step, "peak": peak}
        )

    def _resume(
        self, shard: Shard, leaves: dict[str, LeafState], losses: Tensor
    ) -> tuple[int, int]:
        """Load the shard's checkpoint; return the step to go on from and the peak so far."""
        path = self.file(shard).checkpoint
        if not path.exists():
            return 0, 0
        file = TensorFile(path)
        for name, leaf in leaves.items():
            leaf.load_state_dict(file.read(f"leaf.{name}."))
        self.objective.load_state_dict(file.read("objective."))
        losses.copy_(file["losses"])
        return int(file.metadata["step"]), int(file.metadata["peak"])

    def _check_sound(
        self, shard: Shard, leaves: dict[str, LeafState], losses: Tensor, good: int, step: int
    ) -> None:
        """Read one flag from the device; raises `DdkitError` if a loss or a leaf is not finite.

        A leaf beyond its limit counts as well.
        """
        finite = torch.isfinite(losses[good:step])
        flags = [finite.all()] + [leaf.is_sound().to(losses.device) for leaf in leaves.values()]
        if bool(torch.stack(flags).all()):
            return
        kept = f"the state of step {good} is kept" if good else "nothing was changed on disk"
        if bool(finite.all()):
            name, leaf = next((n, leaf) for n, leaf in leaves.items() if not leaf.is_sound())
            size = leaf.value.detach().abs().max().item()
            state = f"has run away to {size:.3g}" if isfinite(size) else "is not finite"
            what = f"'{name}' of shard {shard.index} {state} by step {step}"
        else:
            first = good + int((~finite).nonzero()[0])
            what = f"the loss of shard {shard.index} is not finite from step {first} on"
        raise DdkitError(
            f"{what} ({kept}): {self.objective.advice}, in a new folder (--out) or with --overwrite"
        )

    def _snapshot(self, shard: Shard, leaves: dict[str, LeafState], step: int) -> None:
        folder = self.run.folder / "snapshots" / f"step-{step:06d}"
        images = self.objective.decode(shard, values(leaves))
        write_snapshot(folder / self.file(shard).path.name, shard, images)

    def _check_cover(self, shards: Sequence[Shard]) -> None:
        slots = torch.cat([torch.arange(0), *(shard.slots for shard in shards)])
        numbers = {shard.index for shard in shards}
        whole = torch.equal(slots.sort().values, torch.arange(self.run.total))
        if not whole or len(numbers) < len(shards):
            raise DdkitError(
                f"the shards of the method '{self.run.config.method}' do not hold each of the "
                f"{self.run.total} images once: its Objective.shards() is at fault"
            )


def take_step(
    objective: Objective,
    shard: Shard,
    leaves: dict[str, LeafState],
    step: int,
    arithmetic: Arithmetic,
) -> Tensor:
    """Take one step of all leaves and return its loss, on the device."""
    device = objective.run.device
    drawn = objective.draw(shard, step)
    tensors = {name: leaf.tensor(drawn.get(name)) for name, leaf in leaves.items()}
    with arithmetic.rounding(device):
        with arithmetic.casting(device):
            loss = objective.loss(shard, tensors, step)
        loss.backward()
    for leaf in leaves.values():
        leaf.update(step / max(1, objective.steps))
    return loss.detach()


def values(leaves: dict[str, LeafState]) -> dict[str, Tensor]:
    """Return what each leaf has come to, apart from any graph."""
    return {name: leaf.result for name, leaf in leaves.items()}

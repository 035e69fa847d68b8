"""The prior pool: snapshots of one training trajectory, every m epochs or steps from T_b to T_e."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil

from torch import Tensor, nn

from ddkit import (
    PRECISIONS,
    Arithmetic,
    DdkitError,
    Member,
    MemberTask,
    Position,
    PruningHistory,
    Recipe,
    Resident,
    Run,
    TaskContext,
    accuracy,
    batch_count,
    batch_norms,
    derive,
    fit,
    training_trial,
)
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.statistics import measure, recalibrate

BATCH = 500  # of passes without gradients


@dataclass(frozen=True)
class Trajectory:
    """One model trained on the real data, as the resolved options say.

    Attributes:
        spec: of its network; None: the run's.
        number: of several that are trained apart, each with draws of its own.
    """

    run: Run
    spec: str | None = None
    number: int | None = None

    def task(self, role: str = "teacher") -> MemberTask:
        return MemberTask(self.name, lambda context: self.train(context, role))

    @property
    def name(self) -> str:
        return "trajectory" + ("" if self.number is None else f"-{self.number:03d}")

    def train(self, context: TaskContext, role: str) -> Iterator[tuple[int, Member]]:
        """Train and yield (number, member) at every wanted step."""
        options: TeddyOptions = self.run.options
        network = self._network()
        wanted = {step: number for number, step in enumerate(wanted_steps(options, self.per_epoch))}
        if 0 in wanted:
            yield wanted[0], member_of(self.run, network, role, 0, 0, spec=self.spec)
        last = max(wanted)
        if last == 0:
            return
        epochs = max(options.train_epochs, ceil(last / self.per_epoch))
        recipe = trajectory_recipe(options, epochs)
        training = fit(
            network,
            lambda epoch: self.run.resident.batches(
                recipe.batch_size,
                self.run.generator("trajectory batches", *self._own, epoch),
                augmentation=options.train_augmentation,
            ),
            recipe,
            steps_per_epoch=self.per_epoch,
            seed=derive(self.run.config.seed, "trajectory", *self._own),
            checkpoint=context.checkpoint,
            last_epoch=ceil(last / self.per_epoch),
            arithmetic=self.run.arithmetic(
                "trajectory" if self.spec is None else f"trajectory of {self.spec}",
                PRECISIONS,
                lambda arithmetic: self._trial(recipe, arithmetic),
                layouts=True,
                steps=last,
                folder=context.pool.folder,
            ),
        )
        done = 0
        title = f"pool: {role}" if self.number is None else f"pool: {self.spec or role}"
        with self.run.progress.task(title, last) as bar:
            for position in training:
                bar.advance(position.step - done)  # more than one where a killed run goes on
                done = position.step
                if position.step in wanted:
                    number = wanted[position.step]
                    yield (
                        number,
                        member_of(
                            self.run, network, role, position.step, position.epoch, spec=self.spec
                        ),
                    )
                if position.step == last:
                    return

    def _trial(self, recipe: Recipe, arithmetic: Arithmetic) -> Iterator[Position]:
        network = self._network()
        generator = self.run.generator("trajectory batches", 0)
        batch = next(self.run.resident.batches(recipe.batch_size, generator))
        yield from training_trial(network, batch, recipe, arithmetic)

    def _network(self) -> nn.Module:
        return self.run.network(self.run.generator("trajectory network", *self._own), self.spec)

    @property
    def _own(self) -> tuple[int, ...]:
        return () if self.number is None else (self.number,)

    @property
    def per_epoch(self) -> int:
        """Steps per epoch."""
        options: TeddyOptions = self.run.options
        return batch_count(len(self.run.train), options.train_batch)


def wanted_steps(options: TeddyOptions, per_epoch: int) -> list[int]:
    """Return the optimiser steps after which a snapshot is taken, ascending."""
    factor = per_epoch if options.unit == "epoch" else 1
    return [count * factor for count in range(options.first, options.last + 1, options.every)]


def trajectory_recipe(options: TeddyOptions, epochs: int) -> Recipe:
    """Return the recipe of Table 6, with a schedule of `epochs` epochs."""
    return Recipe(
        epochs=epochs,
        batch_size=options.train_batch,
        optimiser="sgd",
        lr=options.train_lr,
        momentum=options.train_momentum,
        weight_decay=options.train_decay,
        schedule=options.train_schedule,
    )


def member_of(
    run: Run,
    network: nn.Module,
    role: str,
    step: int,
    epoch: int,
    pruning: PruningHistory | None = None,
    spec: str | None = None,
) -> Member:
    """Return a trained network as a pool member: a copy, recalibrated and measured."""
    options: TeddyOptions = run.options
    network = copy.deepcopy(network).eval()
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise DdkitError(
                f"a pool member is not finite at '{name}' after {step} steps: lower train_lr"
            )
    if options.recalibrate and batch_norms(network):
        recalibrate(network, sample(run, options.recalibrate))
    figures = {}
    if run.holdout is not None:
        holdout = Resident(run.holdout, run.space, run.device)
        figures["holdout_accuracy"] = accuracy(network, holdout.ordered())
    extra = {}
    if options.statistics != "running":
        real, also = run.resident.ordered(BATCH), options.layers != "norms"
        extra = measure(network, real, len(run.classes), convolutions=also)
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    return Member(state, role, step, epoch, figures, pruning, extra, spec)


def sample(run: Run, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Serve about so many random training images, the same for every member."""
    size = min(BATCH, images)
    batches = run.resident.batches(
        size, run.generator("recalibration"), drop_last=len(run.train) > size
    )
    return islice(batches, ceil(images / size))

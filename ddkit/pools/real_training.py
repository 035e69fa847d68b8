"""Networks trained on the real data, as the tasks of a pool: teachers, experts, trajectories."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import torch
from torch import Tensor, nn

from ddkit.data.augmentation.augment import cutmix
from ddkit.data.augmentation.dsa import SCHEMES, Scheme, apply_dsa, draw_scheme
from ddkit.data.loading.batching import batch_count
from ddkit.data.loading.resident import Augmentation, Resident
from ddkit.pools.pool import check_named
from ddkit.pools.tasks import Member, MemberTask, Stacked, TaskContext
from ddkit.run import Run
from ddkit.runtime.arithmetic import PRECISIONS, Arithmetic
from ddkit.runtime.seeds import derive
from ddkit.training.loop import Batches, Position, accuracy, fit, training_trial
from ddkit.training.recipe import Recipe
from ddkit.training.stacked import fit_together, speedup, trial_together

CLEARLY_FASTER = 1.3  # so that the answer rarely depends on what else the machine does


@dataclass(frozen=True)
class RealTraining:
    """Some networks of a run, each trained on its real data: one task and one file each.

    Attributes:
        run: of the pool's stage.
        role: what the members are for; tasks are called <role>-<index>.
        count: how many networks.
        recipe: how each is trained.
        kept: the epochs after which a network becomes a member; 0 is before training.
        augmentation: of the real images: a scheme of DSA, or what `Resident` knows; CutMix follows
            as the recipe says.
        together: how many are trained as one batched network where that measures clearly faster.
        dtype: how weights are stored.
        networks: the spec of each network, names and no files; none: all are the run's. Where they
            differ, each is trained alone.
    """

    run: Run
    role: str
    count: int
    recipe: Recipe
    kept: Collection[int]
    augmentation: Augmentation | Scheme = "none"
    together: int = 1
    dtype: torch.dtype = torch.float32
    networks: Sequence[str] = ()

    def tasks(self) -> list[MemberTask]:
        """Return the tasks, for the hook `build_pool`."""
        for spec in self.networks:
            check_named(spec, f"the {self.role}s")
        size = self.together if len(set(self.networks)) < 2 else 1
        together = Stacked(size, self.train_together, self.is_worthwhile)
        return [
            MemberTask(self.task_name(index), partial(self.train, index), together=together)
            for index in range(self.count)
        ]

    def task_name(self, index: int) -> str:
        return f"{self.role}-{index:04d}"

    def train(self, index: int, context: TaskContext) -> Iterator[tuple[int, Member]]:
        """Train network `index`; yield it after every kept epoch."""
        network = self.network(index)
        training = fit(
            network,
            lambda epoch: self.batches(index, epoch),
            self.recipe,
            steps_per_epoch=self.per_epoch,
            seed=derive(self.run.config.seed, self.role, index),
            checkpoint=context.checkpoint,
            arithmetic=self.run.arithmetic(  # all trainings of a network share it
                self._loop(index),
                PRECISIONS,
                partial(self._trial, self._alike(index)[0]),
                layouts=True,
                steps=self.recipe.epochs * self.per_epoch * len(self._alike(index)),
                folder=context.pool.folder,
            ),
        )
        for epoch in self._epochs(training, f"{self.role} {index + 1} of {self.count}"):
            yield epoch, self.member(index, network, epoch)

    def train_together(
        self, names: Sequence[str], context: TaskContext
    ) -> Iterator[tuple[str, int, Member]]:
        """Train several as one batched network; yield each of them after every kept epoch."""
        indices = [index for index in range(self.count) if self.task_name(index) in names]
        networks = [self.network(index) for index in indices]
        training = fit_together(
            networks,
            lambda epoch: self.stacked_batches(indices, epoch),
            self.recipe,
            steps_per_epoch=self.per_epoch,
            seed=derive(self.run.config.seed, f"{self.role}s", *indices),
            checkpoint=context.checkpoint,
            arithmetic=self.run.arithmetic(
                f"training of {len(indices)} {self.role}s",
                PRECISIONS,
                self._trial_together,
                folder=context.pool.folder,
            ),
        )
        title = f"{self.role}s {indices[0] + 1} to {indices[-1] + 1} of {self.count}"
        for epoch in self._epochs(training, title):
            for index, network in zip(indices, networks, strict=True):
                yield self.task_name(index), epoch, self.member(index, network, epoch)

    def is_worthwhile(self) -> bool:
        """Measure whether they train clearly faster as one batched network on this device."""
        return speedup(*self._first_together(), self.recipe) > CLEARLY_FASTER

    def _trial(self, index: int, arithmetic: Arithmetic) -> Iterator[Position]:
        batch = next(self.batches(index, 0))
        yield from training_trial(self.network(index), batch, self.recipe, arithmetic)

    def _trial_together(self, arithmetic: Arithmetic) -> Iterator[Position]:
        yield from trial_together(*self._first_together(), self.recipe, arithmetic)

    def _first_together(self) -> tuple[list[nn.Module], Tensor, Tensor]:
        """Return the first networks that are trained at once, and their first batches."""
        indices = range(min(self.together, self.count))
        inputs, labels = next(self.stacked_batches(indices, 0))
        return [self.network(index) for index in indices], inputs, labels

    def spec(self, index: int) -> str | None:
        """Return the spec of a network of its own, None where it is the run's."""
        return self.networks[index] if self.networks else None

    def _loop(self, index: int) -> str:
        """Name the trainings that compute alike: those of one network."""
        spec = self.spec(index)
        return f"{self.role} training" + ("" if spec is None else f" of {spec}")

    def _alike(self, index: int) -> list[int]:
        return [other for other in range(self.count) if self.spec(other) == self.spec(index)]

    @property
    def per_epoch(self) -> int:
        """Steps per epoch."""
        return batch_count(len(self.run.train), self.recipe.batch_size)

    def network(self, index: int) -> nn.Module:
        """Return network `index` as it is initialised."""
        return self.run.network(self.run.generator(f"{self.role} network", index), self.spec(index))

    def batches(self, index: int, epoch: int) -> Batches:
        """Serve an epoch of network `index`: (network inputs, int64 labels).

        With CutMix, the labels are probabilities (B, classes).
        """
        run, place = self.run, (index, epoch)
        order = run.generator(f"{self.role} batches", *place)
        scheme = self.augmentation if self.augmentation in SCHEMES else None
        plain = "none" if scheme else cast(Augmentation, self.augmentation)
        real = run.resident.batches(self.recipe.batch_size, order, augmentation=plain)
        for number, (inputs, labels) in enumerate(real):
            if scheme:
                generator = run.generator(f"{self.role} dsa", *place, number)
                size = (inputs.shape[-2], inputs.shape[-1])
                flip = run.train.mirror
                inputs = apply_dsa(
                    inputs, draw_scheme(scheme, len(inputs), size, generator, flip=flip)
                )
            if self.recipe.cutmix:
                generator = run.generator(f"{self.role} cutmix", *place, number)
                classes = len(run.classes)
                inputs, labels = cutmix(inputs, labels, classes, generator, self.recipe.cutmix)
            yield inputs, labels

    def stacked_batches(self, indices: Sequence[int], epoch: int) -> Batches:
        """Serve an epoch of several networks, each its own batches: (k, B, …) and (k, B)."""
        for step in zip(*(self.batches(index, epoch) for index in indices), strict=True):
            yield torch.stack([inputs for inputs, _ in step]), torch.stack([y for _, y in step])

    def member(self, index: int, network: nn.Module, epoch: int) -> Member:
        """Return a copy of network `index` as a member, measured on the holdout if there is one."""
        state = {
            key: tensor.detach()
            .cpu()
            .to(self.dtype if tensor.is_floating_point() else None, copy=True)
            for key, tensor in network.state_dict().items()
        }
        figures = {}
        if self._holdout is not None:
            training = network.training
            figures["holdout_accuracy"] = accuracy(network, self._holdout.ordered())
            network.train(training)
        step = epoch * self.per_epoch
        return Member(state, self.role, step, epoch, figures, network=self.spec(index))

    @cached_property
    def _holdout(self) -> Resident | None:
        split = self.run.holdout
        return None if split is None else Resident(split, self.run.space, self.run.device)

    def _epochs(self, training: Iterator[Position], title: str) -> Iterator[int]:
        """Serve each kept epoch when it has ended, with a progress bar over all."""
        if 0 in self.kept:
            yield 0
        with self.run.progress.task(f"pool: {title}", self.recipe.epochs) as bar:
            done = 0
            for position in training:
                if position.epoch_ends:
                    bar.advance(position.epoch - done)  # more than one where a killed run goes on
                    done = position.epoch
                    if done in self.kept:
                        yield done

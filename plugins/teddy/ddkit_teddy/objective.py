"""Teddy's synthesis: members of the pool shall see in the images what they saw in real data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf

import torch
from torch import Tensor

from ddkit import (
    PRECISIONS,
    Arithmetic,
    DdkitError,
    ImageObjective,
    Leaf,
    Pool,
    Run,
    Shard,
    Synthetic,
    apply_dsa,
    class_balanced_shards,
    draw_dsa,
    draw_views,
    patch_inputs,
    patch_losses,
    resample,
)
from ddkit_teddy.matching import Reference, layers_of, running_references, teddy_loss
from ddkit_teddy.memory import fitting_sizes
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.phases import mixed, resized, shifted, turns
from ddkit_teddy.segments import segmented_loss
from ddkit_teddy.statistics import references
from ddkit_teddy.weights import holdout_accuracies, step_weights

ROLES = ("teacher", "pruned")


class TeddyObjective(ImageObjective):
    """Eq. 7 over class-balanced batches of images (Algorithm 1)."""

    advice = "lower the learning rate (--set lr=…)"
    precisions = PRECISIONS  # statistics are taken in float32

    def __init__(self, run: Run, pool: Pool):
        super().__init__(run)
        self.options: TeddyOptions = run.options
        self.steps = self.options.iterations
        self.lr = self.options.lr
        self.betas = self.options.betas
        self.schedule = self.options.schedule
        self.clip = self.options.clip
        self.segment = self.options.segment
        self.pool = pool
        self.members = pool.with_role(*ROLES)
        if not self.members:
            raise DdkitError(
                "Teddy needs a pool of trained networks, but this run has none: leave "
                "--pool-from out, or name a method that builds one"
            )
        self.drawn = min(self.options.teachers, len(self.members))
        if self.options.weights == "holdout":
            holdout_accuracies(pool, self.members)  # refuses a pool that has none
        self.mixed = len({pool.members[index].network for index in self.members}) > 1
        in_turn = (
            self.mixed and run.device.type == "cpu"
        )  # their modules differ, their weights are free
        pool.max_loaded = len(self.members) if in_turn else self.drawn
        self._give_room(inf if run.config.memory_budget is None else 0)
        self._references: dict[int, Sequence[Reference]] = {}
        self.turns = turns(self.options, self.steps)

    def start(self, shard: Shard) -> Tensor:
        return self._sized(self._whole_start(shard), 0)

    def renewed(
        self, shard: Shard, leaves: Mapping[str, Tensor], step: int
    ) -> Mapping[str, Tensor]:
        images = self._sized(leaves["images"], self.turns.index(step) + 1)
        return {"images": mixed(images, self._whole_start(shard), self.options.residual)}

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        if self.run.config.memory_budget is not None:
            sizes = self.run.settled("sizes", self._fitting_sizes)
            self.segment = sizes["segment"]
            self._give_room(sizes["room"])
        return super().initialise(shard)

    def compute_with(self, arithmetic: Arithmetic) -> None:
        self.pool.lay_out(arithmetic)

    def shards(self) -> Sequence[Shard]:
        return class_balanced_shards(self.run, self.options.batch_size)

    def optimiser(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters, lr=self.lr, betas=self.betas, weight_decay=self.options.image_decay
        )

    def loss(self, shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        drawn = self.draw_members(shard, step)
        inputs = self.augmented(shard, leaves["images"], step)
        loss: Callable[..., Tensor] = (
            partial(segmented_loss, segment=self.segment) if self.segment else teddy_loss
        )
        return loss(
            [self.pool.network(index) for index in drawn],
            [self.references(index) for index in drawn],
            inputs,
            shard.classes,
            bn_weight=self.options.bn_weight,
            ce_weight=self.options.ce_weight,
            first_bn=self.options.first_bn,
            unbiased=self.options.variance == "unbiased",
            weights=step_weights(self.run, self.pool, drawn, (shard.index, step)),
        )

    def decode(self, shard: Shard, leaves: Mapping[str, Tensor]) -> Synthetic:
        found = super().decode(shard, leaves)
        return replace(found, images=resized(found.images, self.run.shape[1:]))

    def draw_members(self, shard: Shard, step: int) -> list[int]:
        """Return the n members of a step: drawn anew, in turn, or the same for an image index.

        A shard that holds several indices together goes by its first: one batch has one set of
        members, or its statistics would not be those of one batch.
        """
        if self.options.draw == "turn":
            first = step * self.drawn
            places = range(first, first + self.drawn)
            return [self.members[place % len(self.members)] for place in places]
        if self.options.draw == "step":
            generator = self.run.generator("teachers of a step", shard.index, step)
        else:
            image_index = int(shard.slots[0]) % self.run.ipc
            generator = self.run.generator("teachers of an index", image_index)
        order = torch.randperm(len(self.members), generator=generator)[: self.drawn]
        return [self.members[i] for i in order.tolist()]

    def references(self, index: int) -> Sequence[Reference]:
        """Return what a member saw in real data, layer by layer."""
        if self.options.statistics == "running":
            return running_references(self.pool.network(index))
        if index not in self._references:
            measured = self.pool.extras(index)
            if not measured:
                raise DdkitError(
                    f"this pool holds no measured statistics, which statistics="
                    f"{self.options.statistics} needs: use --set statistics=running"
                )
            found = references(
                measured,
                classwise=self.options.statistics == "classwise",
                class_share=self.options.class_share,
            )
            layers = layers_of(self.pool.network(index), self.options.layers != "norms")
            if len(found) < len(layers):
                raise DdkitError(
                    "this pool holds no statistics of convolutions, which layers="
                    f"{self.options.layers} needs: use --set layers=norms, or train another one"
                )
            self._references[index] = [each.to(self.run.device) for each in found[: len(layers)]]
        return self._references[index]

    def augmented(self, shard: Shard, images: Tensor, step: int) -> Tensor:
        """Return the images as the members see them in a step: cropped, flipped, then shifted.

        Crops and flips are drawn for each image, a shift for all of them.
        """
        images = self._viewed(shard, images, step)
        if not self.options.jitter:
            return images
        generator = self.run.generator("jitter", shard.index, step)
        return shifted(images, self.options.jitter, generator)

    def _viewed(self, shard: Shard, images: Tensor, step: int) -> Tensor:
        choice, mirror = self.options.augmentation, self.run.train.mirror
        if choice == "dsa":
            generator = self.run.generator("synthesis dsa", shard.index, step)
            size = (images.shape[2], images.shape[3])
            drawn = draw_dsa(len(images), size, generator, flip=mirror)
            return apply_dsa(images, drawn.to(images.device))
        flip = "flip" in choice and mirror
        if choice == "none" or (choice == "flip" and not flip):
            return images
        views = draw_views(
            len(images),
            (images.shape[-2], images.shape[-1]),
            self.run.generator("synthesis views", shard.index, step),
            scale=(self.options.crop_scale, 1.0) if "rrc" in choice else (1.0, 1.0),
            ratio=(3 / 4, 4 / 3) if "rrc" in choice else (1.0, 1.0),
            flip=flip,
            mix="none",
        )
        return resample(images, views.crop, views.flip)

    def _whole_start(self, shard: Shard) -> Tensor:
        """Return where the images of a shard start, at the size of the data."""
        if self.options.choose == "random":
            return super().start(shard)
        losses = patch_losses(self.pool, self.members[-self.drawn :], self.segment)
        return patch_inputs(self.run, shard.slots, losses)

    def _sized(self, images: Tensor, phase: int) -> Tensor:
        """Return images at the size of a phase."""
        sides = self.options.sides
        return resized(images, (sides[phase], sides[phase])) if sides else images

    def _give_room(self, room: float) -> None:
        """Let members that are not drawn stay on the device, in so many bytes with those that are.

        On a CPU all of them are pages of their files.
        """
        self.pool.room = 0 if self.run.device.type == "cpu" else room

    def _fitting_sizes(self) -> dict[str, int]:
        members, valid = self.members[: self.drawn], self.pool.max_loaded
        if self.mixed:  # those that take most may be drawn together
            members = self.members
            self.pool.max_loaded = len(members)
        measured = self.options.statistics != "running"
        sizes = fitting_sizes(
            self.run,
            TeddyObjective,
            [self.pool.network(index) for index in members],
            [self.pool.extras(index) for index in members] if measured else [],
            len(self.members),
        )
        self.pool.max_loaded = valid
        return sizes

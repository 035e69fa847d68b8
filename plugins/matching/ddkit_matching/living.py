"""Networks that are trained on real data beside the images: IDM's queue, and IDC's one."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ddkit import (
    LivePool,
    Pool,
    Recipe,
    Run,
    Shard,
    apply_dsa,
    cutmix,
    derive,
    draw_scheme,
    sent,
)
from ddkit_matching.options import MatchingOptions
from ddkit_matching.sources import Chosen, Source

START = 3  # networks that IDM's queue begins with


class Living(Source):
    """What both have: a pool that lives beside the images, and batches of real data."""

    most: int

    def __init__(self, run: Run, options: MatchingOptions, pool: Pool):
        super().__init__(run, options, pool)
        recipe = Recipe(
            batch_size=options.batch_network,
            lr=options.lr_network,
            momentum=options.momentum_network,
            weight_decay=options.decay_network,
            schedule="constant",
        )
        self.live = LivePool(run, recipe, self.most)

    def begin(self, shard: Shard) -> None:
        self.live.clear()

    def state_dict(self) -> dict[str, Tensor]:
        return self.live.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.live.load_state_dict(state)

    def train(self, index: int, images: int, *place: int) -> None:
        """Train a network on so many random real images, each of them once if there are enough."""
        run = self.run
        order = torch.randperm(len(run.train), generator=run.generator("network images", *place))
        rows = order[torch.arange(images) % len(order)]
        seed = derive(run.config.seed, "network training", *place)
        self.live.train(index, self._batches(rows, *place), seed, measure=percent_right)

    def _batches(self, rows: Tensor, *place: int) -> Iterator[tuple[Tensor, Tensor]]:
        run, options = self.run, self.options
        size = options.batch_network
        labels = sent(run.train.labels[rows], run.device).split(size)
        parts = zip(run.resident.served(rows.split(size)), labels, strict=True)
        for number, (inputs, targets) in enumerate(parts):
            if options.network_augmentation != "none":
                drawn = draw_scheme(
                    options.network_augmentation,
                    len(inputs),
                    (run.shape[1], run.shape[2]),
                    run.generator("network augmentation", *place, number),
                    flip=run.train.mirror,
                )
                inputs = apply_dsa(inputs, drawn)
            if options.network_cutmix:
                draw = run.generator("network cutmix", *place, number)
                classes = len(run.classes)
                inputs, targets = cutmix(inputs, targets, classes, draw, options.network_cutmix)
            yield inputs, targets


class Queue(Living):
    """Random networks of all ages (IDM): each step draws one, and trains some of them after it."""

    @property
    def most(self) -> int:  # type: ignore[override]
        return self.options.queue

    def begin(self, shard: Shard) -> None:
        super().begin(shard)
        for number in range(min(START, self.options.queue)):
            draw = self.run.generator("queue at first", shard.index, number)
            self.live.append(self.run.network(draw))

    def of(self, shard: Shard, images: Tensor, step: int) -> Chosen:
        if step % self.options.queue_every == 0:
            self.live.append(self.first(shard, step))
        (index,) = self.live.draw(self.run.generator("drawn network", shard.index, step))
        return Chosen(self.live.network(index), self.live.figure(index))

    def after(self, shard: Shard, step: int) -> None:
        options = self.options
        draw = self.run.generator("trained networks", shard.index, step)
        for number, index in enumerate(self.live.draw(draw, options.queue_trained)):
            images = options.queue_steps * options.batch_network
            self.train(index, images, shard.index, step, number)


class OnReal(Living):
    """A network that serves `outer_loop` steps, and is trained on real data in between (IDC)."""

    most = 1

    def of(self, shard: Shard, images: Tensor, step: int) -> Chosen:
        options = self.options
        if not len(self.live) or step % options.outer_loop == 0:
            self.live.append(self.first(shard, step))
            for epoch in range(options.early_epochs):
                self.train(0, len(self.run.train), shard.index, step, epoch)
        else:
            self.train(0, options.inner_images, shard.index, step)
        return Chosen(self.live.network(0), self.live.figure(0))


def percent_right(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the share that (B, classes) logits get right, in percent, 0-dim.

    Of targets that CutMix made, the larger share counts.
    """
    classes = targets if targets.dim() == 1 else targets.argmax(1)
    return 100 * (logits.argmax(1) == classes).float().mean()

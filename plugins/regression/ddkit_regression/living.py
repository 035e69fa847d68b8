"""The networks of FRePo and RCIG: trained on the set itself, a little in each turn."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ddkit import LivePool, Recipe, Run, Shard, derive, parse_network, sent
from ddkit_regression.options import RegressionOptions
from ddkit_regression.ridge import half_squares


class Living:
    """A pool of networks of all ages, one of which each step draws, and trains after it.

    As in the released code, ages begin evenly spread while all networks are random, so that they
    are replaced at different times.
    """

    def __init__(self, run: Run, options: RegressionOptions):
        self.run = run
        self.options = options
        self.spec = pool_spec(run, options)
        recipe = Recipe(
            optimiser="adam", lr=options.lr_network, weight_decay=0, schedule="constant"
        )
        self.pool = LivePool(run, recipe, options.networks, self.spec)

    def begin(self) -> None:
        self.pool.clear()

    def network(self, shard: Shard, step: int, images: Tensor, targets: Tensor) -> nn.Module:
        """Return the network of a step, in eval mode, its weights not trained.

        The one of the step before is trained first, on images and targets as they are now.
        """
        if not len(self.pool):
            for number in range(self.options.networks):
                draw = self.run.generator("network at first", shard.index, number)
                age = number * self.options.oldest // self.options.networks
                self.pool.append(self.run.network(draw, self.spec), age)
        if step:
            self._turn(shard, step - 1, images.detach(), targets.detach())
        return self.pool.network(self._drawn(shard, step)).eval().requires_grad_(False)

    def state_dict(self) -> dict[str, Tensor]:
        return self.pool.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.pool.load_state_dict(state)

    def _drawn(self, shard: Shard, step: int) -> int:
        (index,) = self.pool.draw(self.run.generator("drawn network", shard.index, step))
        return index

    def _turn(self, shard: Shard, step: int, images: Tensor, targets: Tensor) -> None:
        """Train the network of a step, or put a random one in its place."""
        index, run = self._drawn(shard, step), self.run
        if self.pool.ages[index] > self.options.oldest:
            draw = run.generator("new network", shard.index, step)
            self.pool.replace(index, run.network(draw, self.spec))
            return
        most = self.options.network_steps
        draw = run.generator("network training", shard.index, step)
        steps = int(torch.randint(1, most + 1, (), generator=draw)) if most > 1 else 1
        seed = derive(run.config.seed, "network training", shard.index, step)
        self.pool.train(index, self._batches(images, targets, steps, draw), seed, half_squares)

    def _batches(
        self, images: Tensor, targets: Tensor, steps: int, draw: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Serve the whole set, or random ones of its images where there are more."""
        most = self.options.batch_network
        for _ in range(steps):
            if len(images) <= most:
                yield images, targets
            else:
                rows = torch.randperm(len(images), generator=draw)[:most]
                rows = sent(rows, images.device)
                yield images[rows], targets[rows]


def pool_spec(run: Run, options: RegressionOptions) -> str:
    """Return what network the pool's are: the run's own, unless another is asked for."""
    spec = options.pool_network or run.config.network
    named = parse_network(spec)
    if options.softplus and named.name == "convnet" and "activation" not in named.options:
        return f"{spec}:activation=softplus"
    return spec

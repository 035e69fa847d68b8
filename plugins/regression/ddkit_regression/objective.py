"""The synthesis: images and targets move so that a regression from them predicts real images."""

from collections.abc import Callable, Mapping
from math import cos, pi

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit import (
    AdaBelief,
    Lamb,
    Leaf,
    Objective,
    RegressionTargets,
    Run,
    Shard,
    Synthetic,
    initial_inputs,
    sent,
)
from ddkit_regression.kernels import KERNELS, Step
from ddkit_regression.options import RegressionOptions
from ddkit_regression.ridge import half_squares, margin

RUNAWAY = 1e4  # no input is as large as this, in units of standard deviations
REAL_PART, CUDA_REAL_PART = 256, 1280  # real images that pass through a network at once
FLOOR = 0.1  # of the cosine

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "lamb": Lamb,
    "adam": torch.optim.Adam,
    "adabelief": AdaBelief,
}


class RegressionObjective(Objective):
    """Each step is one update of images, targets and the temperature, whichever are learned."""

    advice = "lower the learning rates (--set lr_images=…, --set lr_targets=…)"

    def __init__(self, run: Run):
        super().__init__(run)
        self.options: RegressionOptions = run.options
        self.steps = self.options.updates
        self.kernel = KERNELS[self.options.kernel](run, self.options)
        by_class = run.train.labels.argsort(stable=True)
        self._members = by_class.split(run.train.counts.tolist())

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        self.kernel.begin()
        options = self.options
        schedule = cosine if options.schedule == "cosine" else None

        def leaf(value: Tensor, lr: float) -> Leaf:
            return Leaf(
                value,
                lambda parameters: OPTIMISERS[options.optimiser](parameters, lr=lr),
                schedule,
                limit=RUNAWAY,
                average=options.average,
                debias=True,
            )

        leaves = {"images": leaf(initial_inputs(self.run, shard), options.lr_images)}
        if options.targets == "learned":
            leaves["targets"] = leaf(self._first_targets(shard), options.lr_targets)
        if options.loss == "cross-entropy":
            zero = torch.zeros(())
            leaves["temperature"] = Leaf(
                zero, lambda parameters: AdaBelief(parameters, lr=options.lr_temperature)
            )
        return leaves

    def loss(self, shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        options, classes = self.options, len(self.run.classes)
        targets = leaves.get("targets")
        if targets is None:
            targets = sent(self._first_targets(shard), self.run.device)
        rows = self._drawn(shard, step)
        labels = sent(self.run.train.labels[rows], self.run.device)
        part = CUDA_REAL_PART if self.run.device.type == "cuda" else REAL_PART
        real = list(self.run.resident.served(rows.split(part)))

        def outer(predictions: Tensor) -> Tensor:
            if options.loss == "squares":
                truth = F.one_hot(labels, classes).to(predictions.dtype) - 1 / classes
                value = half_squares(predictions, truth)
            else:
                value = F.cross_entropy(leaves["temperature"].exp() * predictions, labels)
            if options.margin:
                value = value - margin(targets, options.margin / classes)
            return value

        found = Step(shard, step, leaves, leaves["images"], targets, real)
        return self.kernel.loss(found, outer).float()

    def decode(self, shard: Shard, leaves: Mapping[str, Tensor]) -> Synthetic:
        targets = leaves.get("targets")
        if targets is None:
            targets = self._first_targets(shard)
        pixels = self.pixels(leaves["images"])
        return Synthetic(pixels, shard.classes, label_logits=targets.detach().cpu())

    def state_dict(self) -> dict[str, Tensor]:
        return self.kernel.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.kernel.load_state_dict(state)

    def _first_targets(self, shard: Shard) -> Tensor:
        """Return y₀ (n, classes): one-hot minus 1 / classes; FRePo divides by √(classes / 10)."""
        classes = len(self.run.classes)
        scale = (classes / 10) ** 0.5 if self.options.scale_targets else 1.0
        return RegressionTargets.of_classes(shard.classes, classes).values / scale

    def _drawn(self, shard: Shard, step: int) -> Tensor:
        """Return random training images (int64), none twice; of each class as many if asked for."""
        most = self.options.batch_real
        draw = self.run.generator("real", shard.index, step)
        if not self.options.balanced:
            return torch.randperm(len(self.run.train), generator=draw)[:most]
        each = max(1, most // len(self._members))
        return torch.cat(
            [own[torch.randperm(len(own), generator=draw)[:each]] for own in self._members]
        )


def cosine(progress: float) -> float:
    """Return the factor on a learning rate, from 1 to a tenth."""
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + cos(pi * progress))

"""The synthesis: class by class, images move so that they match a batch of real ones."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ddkit import (
    DdkitError,
    Diverged,
    DsaParameters,
    ImageObjective,
    Leaf,
    Run,
    Shard,
    apply_dsa,
    batch_norms,
    derive,
    draw_dsa,
    sent,
    with_gradients,
)
from ddkit_matching.distribution import distribution_loss
from ddkit_matching.gradient import gradient_loss
from ddkit_matching.networks import freeze, train_on_images
from ddkit_matching.options import MatchingOptions

LOSSES = {"gradient": gradient_loss, "distribution": distribution_loss}
NORM_IMAGES = 16  # real images of each class that batch norms take their statistics from
RUNAWAY = 1e4  # no input is as large as this, in units of standard deviations


class MatchingObjective(ImageObjective):
    """Each step is one update of all images: Algorithm 1 of DC, and of DM.

    Classes come one after the other, so that memory holds the graph of one.
    """

    advice = "lower the learning rates (--set lr_images=…, --set lr_network=…)"
    clip = False

    def __init__(self, run: Run):
        super().__init__(run)
        self.options: MatchingOptions = run.options.for_ipc(run.ipc)
        self.steps = self.options.updates
        self.class_loss = LOSSES[self.options.match]
        by_class = run.train.labels.argsort(stable=True)
        self.members = torch.split(by_class, run.train.counts.tolist())
        self._network: nn.Module | None = None
        self._rows_of: dict[int, dict[int, Tensor]] = {}

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        self._network = None
        leaf = super().initialise(shard)["images"]
        leaf.limit = RUNAWAY
        return {"images": leaf}

    def optimiser(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        options = self.options
        return torch.optim.SGD(parameters, lr=options.lr_images, momentum=options.momentum)

    def loss(self, shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        images = leaves["images"]
        network = self._network_for(shard, images.detach(), step)
        gradient = torch.zeros_like(images)
        total = images.new_zeros(())
        rows = self._rows(shard)
        size = self.options.batch_real
        drawn = [self._drawn("real images", shard, step, label, size) for label in rows]
        for label, inputs in zip(rows, self.run.resident.served(drawn), strict=True):
            part = images.detach()[rows[label]].requires_grad_()
            real, synthetic = self._alike(inputs, part, shard, step, label)
            value = self.class_loss(network, real, synthetic, label)
            (gradient[rows[label]],) = torch.autograd.grad(value, part)
            total += value.detach()
        return with_gradients(total, {images: gradient})

    def state_dict(self) -> dict[str, Tensor]:
        """Return the network that serves several steps."""
        if self.options.outer_loop == 1 or self._network is None:
            return {}
        return self._network.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if state:
            self._network = self.run.network(self.run.generator("skeleton"))
            self._network.load_state_dict(state)

    def _rows(self, shard: Shard) -> dict[int, Tensor]:
        """Return the rows (int64, on the device) of each class of a shard, sent once."""
        if shard.index not in self._rows_of:
            labels, counts = shard.classes.unique(return_counts=True)
            order = sent(shard.classes.argsort(stable=True), self.run.device)
            parts = order.split(counts.tolist())
            self._rows_of[shard.index] = dict(zip(labels.tolist(), parts, strict=True))
        return self._rows_of[shard.index]

    def _network_for(self, shard: Shard, images: Tensor, step: int) -> nn.Module:
        """Return the network of a step, in eval mode: a fresh one, or the last one, trained."""
        run = self.run
        if self._network is None or step % self.options.outer_loop == 0:
            self._network = run.network(run.generator("network", shard.index, step))
            self._network.requires_grad_(self.options.match == "gradient")
        else:
            self._train(self._network, shard, images, step)
        rows = self._norm_rows(shard, step) if batch_norms(self._network) else torch.arange(0)
        freeze(run, self._network, rows, derive(run.config.seed, "norms", shard.index, step))
        return self._network

    def _norm_rows(self, shard: Shard, step: int) -> Tensor:
        """Return the training images (int64) that give batch norms their statistics, shuffled."""
        labels = range(len(self.members))
        drawn = [self._drawn("norm images", shard, step, label, NORM_IMAGES) for label in labels]
        order = self.run.generator("order of norm images", shard.index, step)
        return torch.cat(drawn)[torch.randperm(sum(map(len, drawn)), generator=order)]

    def _train(self, network: nn.Module, shard: Shard, images: Tensor, step: int) -> None:
        """Train the network on the images as they are now."""
        seed = derive(self.run.config.seed, "network training", shard.index, step)
        try:
            train_on_images(
                network,
                images,
                sent(shard.classes, images.device),
                self.options,
                seed,
                flip=self.run.train.mirror,
            )
        except Diverged as error:
            raise DdkitError(
                f"the network that images are matched in diverged before step {step}: lower its "
                f"learning rate, which is {self.options.lr_network:g} (--set lr_network=…)"
            ) from error

    def _drawn(self, purpose: str, shard: Shard, step: int, label: int, most: int) -> Tensor:
        """Return random training images (int64) of a class, none of them twice."""
        members = self.members[label]
        generator = self.run.generator(purpose, shard.index, step, label)
        return members[torch.randperm(len(members), generator=generator)[:most]]

    def _alike(
        self, real: Tensor, synthetic: Tensor, shard: Shard, step: int, label: int
    ) -> tuple[Tensor, Tensor]:
        """Return both augmented by the same parameters, one set for all images of the class."""
        if self.options.augmentation == "none":
            return real, synthetic
        _, height, width = self.run.shape
        generator = self.run.generator("siamese", shard.index, step, label)
        drawn = draw_dsa(1, (height, width), generator, flip=self.run.train.mirror)
        drawn = drawn.to(real.device)
        return augmented(real, drawn), augmented(synthetic, drawn)


def augmented(images: Tensor, one: DsaParameters) -> Tensor:
    """Return all `images` (n, channels, H, W) augmented by the parameters of one, beside them."""
    return apply_dsa(images, one[torch.zeros(len(images), dtype=torch.int64, device=images.device)])

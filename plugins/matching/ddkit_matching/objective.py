"""The synthesis: class by class, images move so that they match a batch of real ones."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ddkit import (
    DsaParameters,
    ImageObjective,
    Leaf,
    Pool,
    Run,
    Shard,
    apply_dsa,
    batch_norms,
    derive,
    draw_dsa,
    draw_scheme,
    last_linear_input,
    sent,
    with_gradients,
)
from ddkit_matching.characteristic import (
    SCALE,
    characteristic_loss,
    draw_frequencies,
    scale_leaves,
)
from ddkit_matching.distribution import class_term, distribution_loss, features
from ddkit_matching.gradient import gradient_loss
from ddkit_matching.interpolated import Pairs
from ddkit_matching.living import OnReal, Queue
from ddkit_matching.networks import freeze
from ddkit_matching.options import MatchingOptions
from ddkit_matching.sources import Chosen, Fresh, Source

NORM_IMAGES = 16  # real images of each class that batch norms take their statistics from
RUNAWAY = 1e4  # no input is as large as this, in units of standard deviations


class MatchingObjective(ImageObjective):
    """Each step is one update of all images: Algorithm 1 of DC, and of DM.

    Classes come one after the other, so that memory holds the graph of one.
    """

    advice = "lower the learning rates (--set lr_images=…, --set lr_network=…)"

    def __init__(self, run: Run, pool: Pool | None = None):
        super().__init__(run)
        self.options: MatchingOptions = run.options.for_ipc(run.ipc)
        self.steps = self.options.updates
        self.clip = self.options.clip
        pool = Pool(run.folder, run.device) if pool is None else pool
        self.source = source_of(run, self.options, pool)
        by_class = run.train.labels.argsort(stable=True)
        self.members = torch.split(by_class, run.train.counts.tolist())
        self._network: nn.Module | None = None
        self._rows_of: dict[int, dict[int, Tensor]] = {}

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        self.source.begin(shard)
        leaves = super().initialise(shard)
        leaves["images"].limit = RUNAWAY
        if self._learns_frequencies:
            run = self.run
            draw = run.generator("frequency scales", shard.index)
            leaves |= scale_leaves(self._features, draw, self.options.lr_frequencies)
        return leaves

    def optimiser(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        options = self.options
        if options.optimiser == "adamw":
            return torch.optim.AdamW(parameters, lr=options.lr_images, weight_decay=options.decay)
        return torch.optim.SGD(parameters, lr=options.lr_images, momentum=options.momentum)

    def loss(self, shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        images = leaves["images"]
        chosen = self._chosen(shard, images.detach(), step)
        gradient = torch.zeros_like(images)
        total = images.new_zeros(())
        rows = self._rows(shard)
        size = self.options.batch_real
        drawn = [self._drawn("real images", shard, step, label, size) for label in rows]
        scales = {name: leaf for name, leaf in leaves.items() if name != "images"}
        slopes = {leaf: torch.zeros_like(leaf) for leaf in scales.values()}
        for label, inputs in zip(rows, self.run.resident.served(drawn), strict=True):
            own = self._some(rows[label], shard, step, label)
            part = images.detach()[own].requires_grad_()
            real, synthetic = self._alike(inputs, part, shard, step, label)
            value = self._class_loss(chosen, real, synthetic, (shard.index, step, label), scales)
            gradient[own], *others = torch.autograd.grad(value, [part, *slopes])
            total += value.detach()
            for leaf, slope in zip(slopes, others, strict=True):
                slopes[leaf] -= slope  # scales are to make the loss large
            if chosen.trained is not None and self.options.calibration:
                value = self._calibration(chosen.trained, part, shard, step, label)
                gradient[own] += torch.autograd.grad(value, part)[0]
                total += value.detach()
        result = with_gradients(total, {images: gradient, **slopes})
        self.source.after(shard, step)
        return result

    def state_dict(self) -> dict[str, Tensor]:
        return self.source.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.source.load_state_dict(state)

    @property
    def _learns_frequencies(self) -> bool:
        options = self.options
        return options.match == "characteristic" and options.frequency_law == "learned"

    @property
    def _features(self) -> int:
        """The number of features of an image."""
        run = self.run
        network = run.network(run.generator("network to look at")).eval()
        with torch.no_grad():
            seen = last_linear_input(network, torch.zeros(1, *run.shape, device=run.device))
        return seen.shape[1]

    def _class_loss(
        self,
        chosen: Chosen,
        real: Tensor,
        synthetic: Tensor,
        place: tuple[int, int, int],
        scales: Mapping[str, Tensor],
    ) -> Tensor:
        """Return the loss of one class, whose draws follow from `place`: shard, step and label."""
        options, label = self.options, place[2]
        if options.match == "gradient":
            return gradient_loss(chosen.network, real, synthetic, label, options.distance)
        weight = None
        if options.class_weight and chosen.accuracy is not None:
            weight = options.class_weight * chosen.accuracy
        if options.match == "distribution":
            return distribution_loss(chosen.network, real, synthetic, label, weight)
        target, own, logits = features(chosen.network, real, synthetic)
        draw = self.run.generator("frequencies", *place, device=self.run.device)
        frequencies = draw_frequencies(options.frequencies, own.shape[1], draw, scales)
        value = SCALE * characteristic_loss(target, own, frequencies, options.phase)
        return value if weight is None else value + class_term(logits, label, weight)

    def _calibration(
        self, trained: nn.Module, images: Tensor, shard: Shard, step: int, label: int
    ) -> Tensor:
        """Return the weighted cross-entropy of a class in a trained network, augmented anew."""
        seen = self._augmented("calibration", (images,), shard, step, label)[0]
        return class_term(trained(seen), label, self.options.calibration)

    def _rows(self, shard: Shard) -> dict[int, Tensor]:
        """Return the rows (int64, on the device) of each class of a shard, sent once."""
        if shard.index not in self._rows_of:
            labels, counts = shard.classes.unique(return_counts=True)
            order = sent(shard.classes.argsort(stable=True), self.run.device)
            parts = order.split(counts.tolist())
            self._rows_of[shard.index] = dict(zip(labels.tolist(), parts, strict=True))
        return self._rows_of[shard.index]

    def _some(self, rows: Tensor, shard: Shard, step: int, label: int) -> Tensor:
        """Return the rows of a class that a step works on."""
        most = self.options.batch_syn
        if not 0 < most < len(rows):
            return rows
        draw = self.run.generator("images of a class", shard.index, step, label)
        return rows[sent(torch.randperm(len(rows), generator=draw)[:most], rows.device)]

    def _chosen(self, shard: Shard, images: Tensor, step: int) -> Chosen:
        """Return the network of a step, frozen in eval mode."""
        chosen = self.source.of(shard, images, step)
        network = chosen.network.requires_grad_(self.options.match == "gradient")
        rows = self._norm_rows(shard, step) if batch_norms(network) else torch.arange(0)
        freeze(self.run, network, rows, derive(self.run.config.seed, "norms", shard.index, step))
        self._network = network
        return chosen

    def _norm_rows(self, shard: Shard, step: int) -> Tensor:
        """Return the training images (int64) that give batch norms their statistics, shuffled."""
        labels = range(len(self.members))
        drawn = [self._drawn("norm images", shard, step, label, NORM_IMAGES) for label in labels]
        order = self.run.generator("order of norm images", shard.index, step)
        return torch.cat(drawn)[torch.randperm(sum(map(len, drawn)), generator=order)]

    def _drawn(self, purpose: str, shard: Shard, step: int, label: int, most: int) -> Tensor:
        """Return random training images (int64) of a class, none of them twice."""
        members = self.members[label]
        generator = self.run.generator(purpose, shard.index, step, label)
        return members[torch.randperm(len(members), generator=generator)[:most]]

    def _alike(
        self, real: Tensor, synthetic: Tensor, shard: Shard, step: int, label: int
    ) -> tuple[Tensor, Tensor]:
        """Return both augmented by the same parameters, one set for all images of the class."""
        real, synthetic = self._augmented("siamese", (real, synthetic), shard, step, label)
        return real, synthetic

    def _augmented(
        self, purpose: str, sets: tuple[Tensor, ...], shard: Shard, step: int, label: int
    ) -> tuple[Tensor, ...]:
        """Return images augmented by the same parameters, drawn for a purpose."""
        if self.options.augmentation == "none":
            return sets
        size, flip = (self.run.shape[1], self.run.shape[2]), self.run.train.mirror
        generator = self.run.generator(purpose, shard.index, step, label)
        if self.options.augmentation == "dsa":
            drawn = draw_dsa(1, size, generator, flip=flip)
        else:
            drawn = draw_scheme(self.options.augmentation, 1, size, generator, flip=flip)
        drawn = drawn.to(sets[0].device)
        return tuple(augmented(images, drawn) for images in sets)


def source_of(run: Run, options: MatchingOptions, pool: Pool) -> Source:
    """Return where the network of each step comes from."""
    if options.networks == "queue":
        return Queue(run, options, pool)
    if options.networks == "pairs":
        return Pairs(run, options, pool)
    return (OnReal if options.train_on == "real" else Fresh)(run, options, pool)


def augmented(images: Tensor, one: DsaParameters) -> Tensor:
    """Return all `images` (n, channels, H, W) augmented by the parameters of one, beside them."""
    return apply_dsa(images, one[torch.zeros(len(images), dtype=torch.int64, device=images.device)])

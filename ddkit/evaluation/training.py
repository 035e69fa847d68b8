"""Networks trained on a distilled set: one alone, or one per seed as one batched network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from math import ceil

import torch
import torch.nn.functional as F
from torch import nn

from ddkit import networks
from ddkit.data.loading.batching import batch_count, batches_of
from ddkit.distilled.dataset import DistilledDataset
from ddkit.evaluation.augmenting import augmented, augments
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.temperatures import Temperatures
from ddkit.labels import HardLabels, Labels, RegressionTargets
from ddkit.labels.codecs import codec_named
from ddkit.runtime.arithmetic import usual
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.memory import PeakMemory
from ddkit.runtime.moving import send, sent
from ddkit.runtime.seeds import derive, generator
from ddkit.training import loop as training
from ddkit.training import stacked as batched
from ddkit.training.loop import Position

MOST_TOGETHER = 10  # activations and gradients of all are there at once
CLEARLY_FASTER = 1.1  # below, the noise of the measurement decides
FEWEST_STEPS = 300  # of one training; measuring takes the time of about 10
LONGEST_STEP = 0.05  # seconds; longer ones keep the device busy, and ten at once take much memory
WATCHED_STEPS = 2  # the second has what optimisers keep

Started = tuple[list[nn.Module], Iterator[Position]]
"""Networks, and the training that changes them step by step."""

_faster: dict[tuple[object, ...], bool] = {}  # what was measured in this process


class TrainingSet:
    """A distilled set on a device, served as a protocol trains on it.

    Attributes:
        recipe: the protocol's, in epochs.
        steps: how many batches an epoch has.
        loss: (logits, targets) of one network → 0-dim tensor.
        temperatures: where they change, the loss of one network or of several.
    """

    def __init__(self, distilled: DistilledDataset, protocol: Protocol, device: torch.device):
        self.labels = labels_for(protocol, distilled).to(device)
        self.space = distilled.space.to(device)
        everything = torch.arange(len(distilled))
        pixels = sent(distilled.pixels(everything), device)
        # what no label changes is encoded once
        self.images = self.space.encode(pixels) if self.labels.plain else pixels
        self.protocol = protocol
        self.classes = len(distilled.class_names)
        self.mirror = bool(distilled.metadata["mirror"])
        self.recipe = protocol.for_set(distilled).recipe
        self._copies = protocol.copies(distilled)
        rows = everything.repeat(self._copies)
        batch = min(self.recipe.batch_size, len(rows))
        self._sizes = [len(part) for part in batches_of(rows, batch)]
        self.steps = len(self._sizes)
        if protocol.loss == "l1":
            check_exact(self.labels)
        change = protocol.temperatures_change and self.labels.kind != "hard"
        self.temperatures = Temperatures(self.labels.temperature, self.recipe) if change else None
        exact = F.l1_loss if protocol.loss == "l1" else self.temperatures or self.labels.loss
        self.loss = F.cross_entropy if self.recipe.cutmix else exact

    def batches(self, seed: int, epoch: int) -> training.Batches:
        """Serve an epoch of one training: inputs (B, C, H, W), targets (B,) or (B, classes)."""
        return ((inputs[0], targets[0]) for inputs, targets in self.stacked([seed], epoch))

    def stacked(self, seeds: Sequence[int], epoch: int) -> training.Batches:
        """Serve an epoch of k trainings, each in its own order: (k, B, …) and (k, B, …)."""
        if self.temperatures is not None:
            self.temperatures.begin(epoch)
        count, device = len(self.images), self.images.device
        served = self._copies * count
        orders = [torch.randperm(served, generator=generator(s, "order", epoch)) for s in seeds]
        for index, rows in enumerate(
            torch.stack(orders).to(device, non_blocking=True).split(self._sizes, 1)
        ):
            flat = rows.flatten()
            seen, targets = self.labels.batch(self.images, flat % count, epoch)
            inputs = seen if self.labels.plain else self.space.encode(seen)
            if self._copies > 1:  # the second half of the rows are mirror images
                inputs = inputs.where((flat < count).view(-1, 1, 1, 1), inputs.flip(3))
            inputs, targets = (part.unflatten(0, rows.shape) for part in (inputs, targets))
            if augments(self.protocol):  # seed by seed: equal operations in one call saved 4 %
                each = [
                    augmented(self.protocol, *own, self.classes, (s, epoch, index), self.mirror)
                    for s, own in zip(seeds, zip(inputs, targets, strict=True), strict=True)
                ]
                inputs, targets = (
                    torch.stack(parts) if len(parts) > 1 else parts[0].unsqueeze(0)
                    for parts in zip(*each, strict=True)
                )
            yield inputs, targets


def train_on(
    distilled: DistilledDataset,
    protocol: Protocol,
    network: str,
    seed: int,
    device: torch.device,
    watch: Callable[[nn.Module], None] = lambda network: None,
    memory: PeakMemory | None = None,
) -> nn.Module:
    """Return `network`, freshly initialised from `seed` and trained on a distilled set.

    `watch` is called with it after every epoch; `memory` sees the set, the network and two steps.
    """
    trained = train_together(
        distilled, protocol, network, [seed], device, lambda networks: watch(networks[0]), memory
    )
    return trained[0]


def train_together(
    distilled: DistilledDataset,
    protocol: Protocol,
    network: str,
    seeds: Sequence[int],
    device: torch.device,
    watch: Callable[[Sequence[nn.Module]], None] = lambda networks: None,
    memory: PeakMemory | None = None,
) -> list[nn.Module]:
    """Return a network for each of `seeds`, trained as one batched network; one seed, alone.

    Each follows the training it would have alone, batch by batch, up to rounding; what layers such
    as dropout draw is another draw. The networks' tensors are views of stacked ones.

    Raises:
        Diverged: one of them did.
        RuntimeError: torch.func cannot batch the network.
    """
    start = partial(_start, distilled, protocol, network, seeds, device)
    return followed(start, watch, memory)


def followed(
    start: Callable[[], Started],
    watch: Callable[[Sequence[nn.Module]], None],
    memory: PeakMemory | None = None,
) -> list[nn.Module]:
    """Return the networks of a training, trained to its end.

    Args:
        start: makes the networks and their training.
        watch: called with the networks after every epoch.
        memory: measures what `start` makes and the first two steps, or the only one.
    """
    with ExitStack() as beginning:
        if memory is not None:
            beginning.enter_context(memory)
        trained, steps = start()
        for position in steps:
            if position.step == WATCHED_STEPS:
                beginning.close()
            if position.epoch_ends:
                watch(trained)
    return trained


def at_once(
    distilled: DistilledDataset,
    protocol: Protocol,
    network: str,
    seeds: Sequence[int],
    device: torch.device,
    together: bool | None = None,
) -> int:
    """Return how many of `seeds` to train at once; 1 is one after the other.

    Groups are alike in size and at most 10. With None both ways are measured, on their real
    batches, and a set of the same form is treated alike from then on, so that a set and its
    baseline are; trainings of few steps are not worth that.
    """
    if together is False or len(seeds) < 2:
        return 1
    size = ceil(len(seeds) / ceil(len(seeds) / MOST_TOGETHER))
    if together:
        return size
    recipe = protocol.for_set(distilled).recipe
    served = protocol.copies(distilled) * len(distilled)
    if recipe.epochs * batch_count(served, recipe.batch_size) < FEWEST_STEPS:
        return 1
    form = (
        network,
        size,
        protocol.name,
        recipe.batch_size,
        recipe.optimiser,
        len(distilled),
        distilled.shape,
        distilled.labels.kind,
        distilled.labels.form,
        str(device),
        usual(device).precision,
        torch.get_num_threads(),
    )
    if form not in _faster:
        _, alone = _start(distilled, protocol, network, seeds[:1], device)
        _, several = _start(distilled, protocol, network, seeds[:size], device)
        ratio = batched.time_ratio(alone, several, size, device, longest=LONGEST_STEP)
        _faster[form] = ratio >= CLEARLY_FASTER
    return size if _faster[form] else 1


def labels_for(protocol: Protocol, distilled: DistilledDataset) -> Labels:
    """Return what a protocol trains a set towards; raises `DdkitError` where its labels don't fit.

    Regression targets of a set without any are those of its classes, as of real images.
    """
    own, classes = distilled.labels, distilled.classes
    if protocol.labels == "hard":
        return HardLabels(classes)
    if protocol.labels == "targets":
        if isinstance(own, RegressionTargets):
            return own
        return RegressionTargets.of_classes(classes, len(distilled.class_names))
    if isinstance(own, RegressionTargets):
        raise DdkitError(
            f"the protocol {protocol.name} trains towards logits, but {distilled.file.path} has "
            "regression targets: use the protocol regression, or dsa, which takes the classes"
        )
    return own


def check_exact(labels: Labels) -> None:
    """Raise `DdkitError` for labels that are no logits to come near to, but a distribution."""
    if codec_named(labels.form) is not None:
        raise DdkitError(
            f"the protocol l1 compares logits, but labels stored as {labels.form} keep only their "
            "distribution: use another protocol, or a set with labels as fp16"
        )


def create(
    network: str,
    classes: Sequence[str],
    shape: tuple[int, int, int],
    seed: int,
    device: torch.device,
) -> nn.Module:
    """Return `network` on `device`, initialised from an evaluation seed."""
    random = generator(seed, "evaluation network")
    model = networks.create(network, classes=len(classes), shape=shape, generator=random)
    return send(model, device)


def _start(
    distilled: DistilledDataset,
    protocol: Protocol,
    network: str,
    seeds: Sequence[int],
    device: torch.device,
) -> Started:
    data = TrainingSet(distilled, protocol, device)
    names, shape = distilled.class_names, distilled.shape
    models = [create(network, names, shape, seed, device) for seed in seeds]
    steps, recipe, first = data.steps, data.recipe, seeds[0]
    if len(seeds) == 1:
        batches = partial(data.batches, first)
        return models, training.fit(
            models[0], batches, recipe, steps_per_epoch=steps, seed=first, loss=data.loss
        )
    batches = partial(data.stacked, seeds)
    seed = derive(first, "trained together", *seeds[1:])
    return models, batched.fit_together(
        models,
        batches,
        recipe,
        steps_per_epoch=steps,
        seed=seed,
        loss=data.loss,
        of_all=data.temperatures,
    )

"""Honest numbers: how well networks train on a set, beside random images under the same recipe.

Only this module opens the test split.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit import networks, seeds, training
from ddkit.data import sources
from ddkit.data.batching import batch_count, batches_of
from ddkit.data.dsa import apply_dsa, draw_dsa
from ddkit.data.resident import Resident
from ddkit.distilled import DistilledDataset
from ddkit.errors import DdkitError
from ddkit.labels import HardLabels
from ddkit.progress import Progress, Silent
from ddkit.protocols import PROTOCOLS, Protocol
from ddkit.run import Run
from ddkit.training import Diverged

TEST_BATCH = 500
TUNING_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Evaluation:
    """The accuracies of networks trained on one set.

    Attributes:
        accuracies: 0 … 1, one per evaluation seed.
        network, protocol: what was trained, and how; `own` marks a method's own protocol.
        labels: the kind of labels trained towards.
        learning_rate: the one used; `tuned` where the holdout chose it.
        seconds: training and testing, all seeds, on `device`.
    """

    accuracies: tuple[float, ...]
    network: str
    protocol: str
    labels: str
    learning_rate: float
    seconds: float
    device: str = "cpu"
    tuned: bool = False
    own: bool = False

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def std(self) -> float:
        """The standard deviation over seeds (n - 1); NaN for one seed."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return all figures, for `--json` and for results under benchmarks/."""
        return {
            **self.__dict__,
            "torch": torch.__version__,
            "accuracies": list(self.accuracies),
            "n": len(self.accuracies),
            "mean": self.mean,
            "std": None if len(self.accuracies) < 2 else self.std,
        }


def protocol_for(name: str) -> Protocol:
    """Return a protocol by name; raises `DdkitError` for an unknown one."""
    protocol: Protocol = PROTOCOLS.load(name)
    return protocol


def own_protocol_name(distilled: DistilledDataset) -> str:
    """Return the protocol for the kind of labels a set has.

    One soft label per image and a rate learned for SGD steps are meant for dsa-soft.
    """
    if distilled.labels.kind == "hard":
        return "dsa"
    # softened labels have gradients that are smaller by T²: a rate for SGD steps does not fit them
    for_sgd = distilled.labels.kind == "soft" and distilled.labels.temperature == 1
    return "dsa-soft" if for_sgd and distilled.learning_rate is not None else "soft"


def default_protocol(distilled: DistilledDataset) -> Protocol:
    """Return the protocol for the kind of labels a set has, with its learned rate if it has one."""
    return rated(protocol_for(own_protocol_name(distilled)), distilled)


def device_name(device: torch.device) -> str:
    """Return "cpu", or what the CUDA device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def open_test(run: Run) -> Resident:
    """Return the test split of a run's data on the run's device, in the run's input space."""
    split = sources.load(run.config.data, "test", seed=run.config.seed)
    if split.classes != run.classes or split.shape != run.shape:
        raise DdkitError(
            f"the test split of '{run.config.data.name}' has other classes or another image size "
            f"than its training split: {len(split.classes)} classes of {split.shape} against "
            f"{len(run.classes)} of {run.shape}"
        )
    return Resident(split, run.space, run.device)


def evaluate_with(
    protocol: Protocol,
    distilled: DistilledDataset,
    test: Resident,
    network: str,
    evaluation_seeds: Sequence[int],
    device: torch.device,
    progress: Progress | None = None,
) -> Evaluation:
    """Train `network` on a distilled set once per seed, and test each.

    Learned learning rates are the caller's to put in: `rated` does it.
    """
    start = time.perf_counter()
    accuracies = []
    with (progress or Silent()).task(
        f"{protocol.name} on {network}", len(evaluation_seeds) * protocol.recipe.epochs
    ) as task:
        for seed in evaluation_seeds:
            trained = train_on(distilled, protocol, network, seed, device, lambda _: task.advance())
            accuracies.append(training.accuracy(trained, test.ordered(TEST_BATCH)))
            task.show(accuracy=f"{accuracies[-1]:.1%}")
    return Evaluation(
        tuple(accuracies), network, protocol.name,
        "hard" if protocol.labels == "hard" else distilled.labels.kind,
        protocol.recipe.lr, time.perf_counter() - start, device_name(device),
    )  # fmt: skip


def evaluate_on_test(
    protocol: Protocol, run: Run, distilled: DistilledDataset, network: str,
    evaluation_seeds: Sequence[int],
) -> Evaluation:  # fmt: skip
    """Train as a protocol says and test; for plugins, which see no test data."""
    return evaluate_with(
        protocol, distilled, open_test(run), network, evaluation_seeds, run.device, run.progress
    )


def train_on(
    distilled: DistilledDataset,
    protocol: Protocol,
    network: str,
    seed: int,
    device: torch.device,
    watch: Callable[[nn.Module], None] = lambda network: None,
) -> nn.Module:
    """Return `network`, freshly initialised from `seed` and trained on a distilled set.

    `watch` is called with it after every epoch.
    """
    hard = protocol.labels == "hard"
    labels = (HardLabels(distilled.classes) if hard else distilled.labels).to(device)
    batch = min(protocol.recipe.batch_size, len(distilled))
    space = distilled.space.to(device)
    pixels = distilled.pixels(torch.arange(len(distilled))).to(device)
    mirror = bool(distilled.metadata["mirror"])

    def batches(epoch: int) -> training.Batches:
        order = torch.randperm(len(distilled), generator=seeds.generator(seed, "order", epoch))
        for index, rows in enumerate(batches_of(order.to(device), batch)):
            inputs = space.encode(labels.view(pixels, rows, epoch))
            if protocol.augmentation == "dsa":
                inputs = augmented(inputs, seed, epoch, index, mirror)
            yield inputs, labels.targets(rows, epoch)

    model = _create(network, distilled.class_names, distilled.shape, seed, device)
    steps = batch_count(len(distilled), batch)
    loss = F.l1_loss if protocol.loss == "l1" else labels.loss
    for position in training.fit(
        model, batches, protocol.recipe, steps_per_epoch=steps, seed=seed, loss=loss
    ):
        if position.epoch_ends:
            watch(model)
    return model


def evaluate_real(
    protocol: Protocol,
    run: Run,
    test: Resident,
    network: str,
    evaluation_seeds: Sequence[int],
) -> Evaluation:
    """Train `network` on all real data with a protocol's recipe and hard labels, and test it."""
    start = time.perf_counter()
    recipe = protocol.with_recipe(epochs=protocol.real_epochs).recipe
    accuracies = []
    with run.progress.task(
        f"all real data on {network}", len(evaluation_seeds) * recipe.epochs
    ) as task:
        for seed in evaluation_seeds:

            def batches(epoch: int, seed: int = seed) -> training.Batches:
                shuffle = seeds.generator(seed, "order", epoch)
                real = run.resident.batches(recipe.batch_size, shuffle)
                for index, (inputs, labels) in enumerate(real):
                    if protocol.augmentation == "dsa":
                        inputs = augmented(inputs, seed, epoch, index, run.train.mirror)
                    yield inputs, labels

            model = _create(network, run.classes, run.shape, seed, run.device)
            steps = batch_count(len(run.train), recipe.batch_size)
            for position in training.fit(model, batches, recipe, steps_per_epoch=steps, seed=seed):
                if position.epoch_ends:
                    task.advance()
            accuracies.append(training.accuracy(model, test.ordered(TEST_BATCH)))
            task.show(accuracy=f"{accuracies[-1]:.1%}")
    return Evaluation(
        tuple(accuracies),
        network,
        protocol.name,
        "hard",
        recipe.lr,
        time.perf_counter() - start,
        device_name(run.device),
    )


def rated(protocol: Protocol, distilled: DistilledDataset) -> Protocol:
    """Return the protocol with the learning rate that came with the set, if one did.

    It was learned for SGD steps, so that other optimisers keep their own.
    """
    if distilled.learning_rate is None or protocol.recipe.optimiser != "sgd":
        return protocol
    return protocol.with_recipe(lr=distilled.learning_rate)


def tuned(
    protocol: Protocol, distilled: DistilledDataset, holdout: Resident, network: str,
    device: torch.device,
) -> Protocol:  # fmt: skip
    """Return the protocol with the learning rate that does best on the holdout, never on test data.

    Tries the recipe's own times 0.1, 0.3, 1, 3 and 10, one seed each; one that diverges loses.
    """
    scores = {}
    for rate in (protocol.recipe.lr * factor for factor in TUNING_FACTORS):
        try:
            model = train_on(distilled, protocol.with_recipe(lr=rate), network, 0, device)
        except Diverged:
            scores[rate] = 0.0
        else:
            scores[rate] = training.accuracy(model, holdout.ordered(TEST_BATCH))
    return protocol.with_recipe(lr=max(scores, key=lambda rate: scores[rate]))


def augmented(inputs: Tensor, seed: int, epoch: int, batch: int, mirror: bool) -> Tensor:
    """Return a batch of network inputs under DSA, drawn for (seed, epoch, batch)."""
    generator = seeds.generator(seed, "dsa", epoch, batch)
    size = (inputs.shape[-2], inputs.shape[-1])
    return apply_dsa(inputs, draw_dsa(len(inputs), size, generator, flip=mirror))


def _create(
    network: str, classes: Sequence[str], shape: tuple[int, int, int], seed: int,
    device: torch.device,
) -> nn.Module:  # fmt: skip
    generator = seeds.generator(seed, "evaluation network")
    return networks.create(network, classes=len(classes), shape=shape, generator=generator).to(
        device
    )

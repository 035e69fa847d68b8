"""Honest numbers: how well networks train on a set, beside random images under the same recipe.

Only this module opens the test split.
"""

import time
from collections.abc import Sequence
from functools import partial

import torch

from ddkit.data.loading.batching import batch_count
from ddkit.data.loading.resident import Resident
from ddkit.data.sources import load as sources
from ddkit.data.sources import selection
from ddkit.distilled.dataset import DistilledDataset
from ddkit.evaluation.augmenting import augmented, augments
from ddkit.evaluation.protocols import PROTOCOLS, Protocol
from ddkit.evaluation.result import Evaluation
from ddkit.evaluation.training import (
    Started,
    at_once,
    create,
    followed,
    labels_for,
    train_on,
    train_together,
)
from ddkit.run import Run
from ddkit.runtime import seeds
from ddkit.runtime.arithmetic import usual
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.machine import device_name
from ddkit.runtime.memory import PeakMemory
from ddkit.runtime.progress import Progress, Silent
from ddkit.training import loop as training
from ddkit.training.loop import Diverged

TUNING_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
TUNING_SHARE = 0.1  # of the training data, where the run set no holdout aside


def protocol_for(name: str) -> Protocol:
    """Return a protocol by name; raises `DdkitError` for an unknown one."""
    protocol: Protocol = PROTOCOLS.load(name)
    return protocol


def own_protocol_name(distilled: DistilledDataset) -> str:
    """Return the protocol for the kind of labels a set has.

    One soft label per image and a rate learned for SGD steps are meant for dsa-soft.
    """
    if distilled.labels.kind in ("hard", "targets"):
        return "dsa" if distilled.labels.kind == "hard" else "regression"
    # softened labels have gradients that are smaller by T²: a rate for SGD steps does not fit them
    for_sgd = distilled.labels.kind == "soft" and distilled.labels.temperature == 1
    return "dsa-soft" if for_sgd and distilled.learning_rate is not None else "soft"


def default_protocol(distilled: DistilledDataset) -> Protocol:
    """Return the protocol for the kind of labels a set has, with its learned rate if it has one."""
    return rated(protocol_for(own_protocol_name(distilled)), distilled)


def open_test(run: Run) -> Resident:
    """Return the test split of a run's data on the run's device, in the run's input space."""
    split = sources.load(run.config.data, "test", seed=run.config.seed, progress=run.progress)
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
    together: bool | None = None,
) -> Evaluation:
    """Train `network` on a distilled set once per seed, and test each.

    Learned learning rates are the caller's to put in: `rated` does it.

    Args:
        together: whether seeds are trained as one batched network, where that is possible; None
            measures what is faster.
    """
    start = time.perf_counter()
    labels = labels_for(protocol, distilled).kind
    protocol = protocol.for_set(distilled)
    title, epochs = f"{protocol.name} on {network}", protocol.recipe.epochs

    def accuracies(size: int, memory: PeakMemory) -> tuple[float, ...]:
        found: list[float] = []
        with (progress or Silent()).task(title, len(evaluation_seeds) * epochs) as task:
            for first in range(0, len(evaluation_seeds), size):
                group = evaluation_seeds[first : first + size]
                trained = train_together(
                    distilled,
                    protocol,
                    network,
                    group,
                    device,
                    lambda networks: task.advance(len(networks)),
                    None if found else memory,
                )
                found += [training.accuracy(model, test.ordered()) for model in trained]
                task.show(accuracy=f"{found[-1]:.1%}")
        return tuple(found)

    most = at_once(distilled, protocol, network, evaluation_seeds, device, together)
    for size in dict.fromkeys([most, 1]):
        memory = PeakMemory(device)
        try:
            found = accuracies(size, memory)
            break
        except (Diverged, RuntimeError):  # one of several, or torch.func cannot batch the network
            if size == 1:
                raise
    return Evaluation(
        found,
        network,
        protocol.name,
        labels,
        protocol.recipe.lr,
        time.perf_counter() - start,
        device_name(device),
        together=size,
        peak_bytes=memory.peak,
        precision=usual(device).precision,
        learned_on=learned_elsewhere(protocol, distilled, network),
    )


def learned_elsewhere(protocol: Protocol, distilled: DistilledDataset, network: str) -> str | None:
    """Return the network that a protocol's learning rate was learned for; None if it is `network`.

    None, too, where the rate is not the one that came with the set.
    """
    own = str(distilled.metadata["network"])
    used = distilled.learning_rate == protocol.recipe.lr and protocol.recipe.optimiser == "sgd"
    return own if used and own != network else None


def evaluate_on_test(
    protocol: Protocol,
    run: Run,
    distilled: DistilledDataset,
    network: str,
    evaluation_seeds: Sequence[int],
) -> Evaluation:
    """Train as a protocol says and test; for plugins, which see no test data."""
    return evaluate_with(
        protocol, distilled, open_test(run), network, evaluation_seeds, run.device, run.progress
    )


def evaluate_real(
    protocol: Protocol, run: Run, test: Resident, network: str, evaluation_seeds: Sequence[int]
) -> Evaluation:
    """Train `network` on all real data with a protocol's recipe and hard labels, and test it."""
    began = time.perf_counter()
    recipe = protocol.with_recipe(epochs=protocol.real_epochs).recipe
    real = run.resident
    steps = batch_count(len(run.train), recipe.batch_size)
    memory = PeakMemory(run.device)
    accuracies: list[float] = []

    def batches(seed: int, epoch: int) -> training.Batches:
        shuffle = seeds.generator(seed, "order", epoch)
        for index, (inputs, labels) in enumerate(real.batches(recipe.batch_size, shuffle)):
            if augments(protocol):
                place, classes = (seed, epoch, index), len(run.classes)
                inputs, labels = augmented(
                    protocol, inputs, labels, classes, place, run.train.mirror
                )
            yield inputs, labels

    def start(seed: int) -> Started:
        model = create(network, run.classes, run.shape, seed, run.device)
        return [model], training.fit(
            model, partial(batches, seed), recipe, steps_per_epoch=steps, seed=seed
        )

    with run.progress.task(
        f"all real data on {network}", len(evaluation_seeds) * recipe.epochs
    ) as task:
        for seed in evaluation_seeds:
            watched = None if accuracies else memory
            (model,) = followed(partial(start, seed), lambda _: task.advance(), watched)
            accuracies.append(training.accuracy(model, test.ordered()))
            task.show(accuracy=f"{accuracies[-1]:.1%}")
    return Evaluation(
        tuple(accuracies),
        network,
        protocol.name,
        "hard",
        recipe.lr,
        time.perf_counter() - began,
        device_name(run.device),
        peak_bytes=memory.peak + real.resident_bytes,
        precision=usual(run.device).precision,
    )


def rated(protocol: Protocol, distilled: DistilledDataset) -> Protocol:
    """Return the protocol with the learning rate that came with the set, if one did.

    It was learned for SGD steps, so that other optimisers keep their own.
    """
    if distilled.learning_rate is None or protocol.recipe.optimiser != "sgd":
        return protocol
    return protocol.with_recipe(lr=distilled.learning_rate)


def tuned(
    protocol: Protocol,
    distilled: DistilledDataset,
    holdout: Resident,
    network: str,
    device: torch.device,
) -> Protocol:
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
            scores[rate] = training.accuracy(model, holdout.ordered())
    return protocol.with_recipe(lr=max(scores, key=lambda rate: scores[rate]))


def tuning_split(run: Run) -> Resident:
    """Return the holdout; a tenth of the training data where the run set none aside."""
    split = run.holdout
    if split is None:
        _, split = selection.split_holdout(run.train, TUNING_SHARE, run.config.seed)
    if split is None:
        raise DdkitError("no holdout to tune on: distil with --holdout 0.1")
    return Resident(split, run.space, run.device)

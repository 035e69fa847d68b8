"""The one training loop that teachers, students and evaluations share."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from math import isfinite
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit.runtime.arithmetic import Arithmetic, usual
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import Stopped, stop_requested
from ddkit.runtime.seeds import derive
from ddkit.runtime.tensors import TensorFile, optimiser_tensors, restore_optimiser, write_tensors
from ddkit.training.recipe import Recipe
from ddkit.training.sharpness import sharpen

Batches = Iterator[tuple[Tensor, Tensor]]
CHECKPOINT_SECONDS = 30.0
CHECK_SECONDS = 0.5  # reading the loss waits for a CUDA device
ENDLESS = 10**9  # steps of an epoch


class Diverged(DdkitError):  # noqa: N818 - it names what happened
    """The loss of a training is not finite any more."""


@dataclass(frozen=True)
class Position:
    """How far a training is: steps and epochs taken, and whether an epoch has just ended."""

    step: int
    epoch: int
    epoch_ends: bool


def fit(
    network: nn.Module,
    batches: Callable[[int], Batches],
    recipe: Recipe,
    *,
    steps_per_epoch: int,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    checkpoint: Path | None = None,
    last_epoch: int | None = None,
    arithmetic: Arithmetic | None = None,
    last_look: bool = True,
    networks: int = 1,
) -> Iterator[Position]:
    """Train `network` in place; yields after every step, so that the caller may look or stop.

    Args:
        network: on its device; left in train mode.
        batches: epoch → that epoch's (inputs, targets); must follow from the epoch alone.
        recipe: optimiser, learning rate and its schedule.
        steps_per_epoch: how many batches an epoch has.
        seed: of what the network itself draws in training, such as dropout.
        loss: (logits, targets) → 0-dim tensor.
        checkpoint: a file to save to now and then and to go on from, removed at the end.
        last_epoch: stop after this epoch (1 …) of the schedule instead of after the last.
        arithmetic: how steps are computed; None is `usual`.
        last_look: whether to look at the loss at the end even on CUDA, where that waits for the
            device; an inner loop leaves it to what its network is for.
        networks: how many are stacked along the leading dimension of each parameter.

    Raises:
        Diverged: the loss was not finite. It is looked at after every epoch; on CUDA, where that
            waits for the device, every half second and at the end.
        Stopped: on request, after saving to `checkpoint`.
    """
    device = next(network.parameters()).device
    arithmetic = arithmetic or usual(device)
    forward = arithmetic.form(network, device, recipe.batch_size)
    parameters = list(network.parameters())
    optimiser = recipe.build(parameters)
    start = _resume(checkpoint, network, optimiser)
    network.train()
    layers = list(network.modules())
    modes = [layer.training for layer in layers]  # a network may keep some of them in eval mode
    saved = checked = time.monotonic()
    final = steps_per_epoch * (last_epoch or recipe.epochs)
    total = torch.zeros((), device=device)

    def differentiate(step: int, inputs: Tensor, targets: Tensor) -> Tensor:
        for parameter in parameters:
            parameter.grad = None
        with seeded(derive(seed, "training step", step), device):
            value = loss(forward(inputs), targets)
        value.backward()
        return value.detach()

    for epoch in range(start // steps_per_epoch, final // steps_per_epoch):
        for index, (inputs, targets) in enumerate(batches(epoch)):
            step = epoch * steps_per_epoch + index
            if step < start:
                continue  # it was taken before the checkpoint; its draws have to be made again
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * recipe.factor(step / steps_per_epoch, steps_per_epoch)
            if [layer.training for layer in layers] != modes:  # who looked at it changed them
                network.train()
            with arithmetic.rounding(device):
                total += differentiate(step, inputs, targets)
                if recipe.sharpness:
                    again = partial(differentiate, step, inputs, targets)
                    sharpen(network, again, recipe.sharpness, recipe.surrogate, networks)
            optimiser.step()
            yield Position(step + 1, epoch + 1, index + 1 == steps_per_epoch)
            stop = stop_requested() and step + 1 < final  # what is done is not thrown away
            if checkpoint and (stop or time.monotonic() - saved > CHECKPOINT_SECONDS):
                _check_finite(total, epoch, recipe)
                _save(checkpoint, network, optimiser, step + 1)
                saved = time.monotonic()
            if stop:
                raise Stopped
        if device.type == "cpu" or time.monotonic() - checked > CHECK_SECONDS:
            _check_finite(total, epoch, recipe)
            checked = time.monotonic()
    if last_look or device.type == "cpu":
        _check_finite(total, recipe.epochs - 1, recipe)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)


def training_trial(
    network: nn.Module, batch: tuple[Tensor, Tensor], recipe: Recipe, arithmetic: Arithmetic
) -> Iterator[Position]:
    """Train on one batch without an end: what is timed, and then thrown away."""
    return fit(
        network,
        lambda epoch: repeat(batch),
        recipe,
        steps_per_epoch=ENDLESS,
        seed=0,
        arithmetic=arithmetic,
    )


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for the time of the block, for layers that draw from them."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


@torch.no_grad()
def accuracy(network: nn.Module, batches: Batches) -> float:
    """Return the share (0 … 1) of (inputs, labels) that `network` gets right, in eval mode."""
    network.eval()
    right: Tensor | int = 0  # read once: reading waits for the device
    total = 0
    for inputs, labels in batches:
        right = right + (network(inputs).argmax(1) == labels).sum()
        total += len(labels)
    return int(right) / max(total, 1)


def _check_finite(total: Tensor, epoch: int, recipe: Recipe) -> None:
    if not isfinite(total.item()):
        raise Diverged(
            f"training diverged in epoch {epoch + 1} (the loss is not finite): "
            f"lower the learning rate, which is {recipe.lr:g}"
        )


def _save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"optimiser.{k}": v for k, v in optimiser_tensors(optimiser).items()}
    write_tensors(path, tensors, {"step": step})


def _resume(path: Path | None, network: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load a checkpoint, if there is one, and return how many steps are done."""
    if path is None or not path.exists():
        return 0
    file = TensorFile(path)
    network.load_state_dict(file.read("network."))
    restore_optimiser(optimiser, file.read("optimiser."))
    return int(file.metadata["step"])

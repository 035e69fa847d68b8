"""Several networks of one architecture, trained as one batched network (torch.func).

Small networks leave a device waiting: ten of them in one batched step can cost little more than
one alone. Whether they do depends on device, architecture and batch; `speedup` measures it.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice, repeat, zip_longest
from math import inf
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ddkit.runtime.arithmetic import Arithmetic
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.timing import step_seconds
from ddkit.training.loop import ENDLESS, Batches, Diverged, Position, fit
from ddkit.training.recipe import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]


class Stacked(nn.Module):
    """k networks of one architecture as one module.

    The networks' parameters and buffers become views of the stacked ones. What trains this module
    in place trains each network: nothing is stored twice, and each can be read at any time.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        """Stack networks that are on one device; raises `DdkitError` where they are not alike."""
        super().__init__()
        _check_alike(networks)
        self.network = copy.deepcopy(networks[0])  # the architecture, with stacked tensors in it
        each = [_tensors(network) for network in networks]
        for name, stacked in _tensors(self.network).items():
            stacked.data = torch.stack([tensors[name].data for tensors in each])
            for tensors, part in zip(each, stacked.data, strict=True):
                tensors[name].data = part

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (k, B, classes) of inputs (k, B, C, H, W): network i sees inputs[i]."""

        def one(tensors: dict[str, Tensor], inputs: Tensor) -> Tensor:
            logits: Tensor = functional_call(self.network, tensors, (inputs,))
            return logits

        logits: Tensor = vmap(one, randomness="different")(_tensors(self.network), inputs)
        return logits


def fit_together(
    networks: Sequence[nn.Module],
    batches: Callable[[int], Batches],
    recipe: Recipe,
    *,
    steps_per_epoch: int,
    seed: int,
    loss: Loss = F.cross_entropy,
    of_all: Loss | None = None,
    checkpoint: Path | None = None,
    last_epoch: int | None = None,
    arithmetic: Arithmetic | None = None,
) -> Iterator[Position]:
    """Train k `networks` in place as `training.fit` trains one; yields after every step.

    Each network follows the training it would have alone, up to rounding; what layers such as
    dropout draw is another draw. At every yield `networks[i].state_dict()` is up to date: views
    of what is trained on, so copy what is to stay.

    Args:
        networks: of one architecture, on one device. Moving one of them ends its part in this.
        batches: epoch → that epoch's inputs (k, B, C, H, W) and targets (k, B) or (k, B, classes).
        loss: (logits, targets) of one network → 0-dim tensor.
        of_all: (logits (k, B, classes), targets) → 0-dim sum over the networks, in its place.
        recipe, steps_per_epoch, seed, checkpoint, last_epoch, arithmetic: as for `fit`; one file
            for all, and one memory layout: vmap has none that is channels-last.

    Raises:
        DdkitError: the networks differ in architecture.
        Diverged, Stopped: as `fit` does; one network that diverges ends the training of all.
    """
    stacked = Stacked(networks)
    if arithmetic is not None:
        arithmetic = replace(arithmetic, channels_last=False)
    each = vmap(loss, randomness="different")
    return fit(
        stacked,
        batches,
        recipe,
        steps_per_epoch=steps_per_epoch,
        seed=seed,
        loss=of_all or (lambda logits, targets: each(logits, targets).sum()),  # own gradients
        checkpoint=checkpoint,
        last_epoch=last_epoch,
        arithmetic=arithmetic,
        networks=len(networks),
    )


def trial_together(
    networks: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    arithmetic: Arithmetic | None = None,
    loss: Loss = F.cross_entropy,
) -> Iterator[Position]:
    """Train on one batch for each without an end: what is timed, and then thrown away."""
    return fit_together(
        networks,
        lambda epoch: repeat((inputs, targets)),
        recipe,
        steps_per_epoch=ENDLESS,
        seed=0,
        loss=loss,
        arithmetic=arithmetic,
    )


def speedup(
    networks: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    loss: Loss = F.cross_entropy,
) -> float:
    """Return how many times faster k training steps are as one batched step than in turn.

    Both are the steps of real trainings, of copies of the networks.

    Args:
        networks: k networks of one architecture; they are not changed.
        inputs, targets: a batch for each, as in `fit_together`.

    Returns:
        seconds in turn / seconds batched; 0 where torch.func cannot batch the network, which may
        branch on values, or where the batched one does not fit into memory.
    """
    single = fit(
        copy.deepcopy(networks[0]),
        lambda epoch: cycle(zip(inputs, targets, strict=True)),
        recipe,
        steps_per_epoch=ENDLESS,
        seed=0,
        loss=loss,
    )
    batched = trial_together(
        [copy.deepcopy(network) for network in networks], inputs, targets, recipe, loss=loss
    )
    return time_ratio(single, batched, len(networks), inputs.device)


def time_ratio(
    single: Iterator[Position],
    batched: Iterator[Position],
    count: int,
    device: torch.device,
    *,
    longest: float = inf,
) -> float:
    """Return how many times longer `count` steps of one training take than one of a batched one.

    Args:
        single, batched: trainings that have not begun; some steps of both are taken.
        count: how many networks the batched one has.
        device: where they are.
        longest: seconds; where a single step takes longer, the batched one is not tried.

    Returns:
        the ratio; 0 where the batched training fails or is not tried.
    """
    if step_seconds([islice(single, 3)], device)[0] > longest:
        return 0.0
    rounds = zip(*[single] * count, strict=True)
    block = 3 if device.type == "cuda" else 1  # a CPU has nothing to wait for
    try:
        in_turn, together = step_seconds([rounds, batched], device, block=block)
    except Diverged:
        return 0.0
    return in_turn / together


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name; one that is shared by several layers, once."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


def _check_alike(networks: Sequence[nn.Module]) -> None:
    """Raise `DdkitError` for the first difference of a network from the first one."""
    first = _architecture(networks[0])
    for number, network in enumerate(networks, 1):
        for ours, others in zip_longest(first, _architecture(network), fillvalue="nothing"):
            if ours != others:
                raise DdkitError(
                    "networks that are trained together must have the same architecture: number "
                    f"{number} has {others} where number 1 has {ours}"
                )


def _architecture(network: nn.Module) -> list[str]:
    """Describe layers and tensors line by line: the same lines, one architecture."""
    tensors = [
        f"{name}: {'×'.join(map(str, tensor.shape)) or 'one number'} of {tensor.dtype} on "
        f"{tensor.device}{', trained' if tensor.requires_grad else ''}"
        for name, tensor in _tensors(network).items()
    ]
    return [line.strip() for line in str(network).splitlines()] + tensors

"""Several networks of one architecture, trained as one batched network (torch.func).

Small networks leave a device waiting: ten of them in one batched step can cost little more than
one alone. Whether they do depends on device, architecture and batch; `speedup` measures it.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, repeat, zip_longest
from math import inf
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ddkit.arithmetic import Arithmetic
from ddkit.errors import DdkitError
from ddkit.training import (
    TIMED,
    WARM_UP,
    Batches,
    Diverged,
    Position,
    Recipe,
    fit,
    median_seconds,
    seconds_of,
)

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
        recipe, steps_per_epoch, seed, checkpoint, last_epoch, arithmetic: as for `fit`; one file
            for all.

    Raises:
        DdkitError: the networks differ in architecture.
        Diverged, Stopped: as `fit` does; one network that diverges ends the training of all.
    """
    stacked = Stacked(networks)
    total = vmap(loss, randomness="different")
    return fit(
        stacked,
        batches,
        recipe,
        steps_per_epoch=steps_per_epoch,
        seed=seed,
        loss=lambda logits, targets: total(logits, targets).sum(),  # each gets its own gradient
        checkpoint=checkpoint,
        last_epoch=last_epoch,
        arithmetic=arithmetic,
    )


def speedup(
    networks: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    loss: Loss = F.cross_entropy,
    steps: int = 7,
) -> float:
    """Return how many times faster k training steps are as one batched step than in turn.

    Both are the steps of real trainings, of copies of the networks, in alternation, so that other
    work on the machine slows both. The medians are compared.

    Args:
        networks: k networks of one architecture; they are not changed.
        inputs, targets: a batch for each, as in `fit_together`.
        steps: how many batched steps are timed.

    Returns:
        seconds in turn / seconds batched; 0 where torch.func cannot batch the network, which may
        branch on values, or where the batched one does not fit into memory.
    """
    taken = WARM_UP + len(networks) * steps
    single = fit(
        copy.deepcopy(networks[0]),
        lambda epoch: cycle(zip(inputs, targets, strict=True)),
        recipe, steps_per_epoch=taken, seed=0, loss=loss,
    )  # fmt: skip
    batched = fit_together(
        [copy.deepcopy(network) for network in networks],
        lambda epoch: repeat((inputs, targets)),
        recipe, steps_per_epoch=taken, seed=0, loss=loss,
    )  # fmt: skip
    return time_ratio(single, batched, len(networks), inputs.device, steps=steps)


def step_seconds_together(
    networks: Sequence[nn.Module], inputs: Tensor, targets: Tensor, recipe: Recipe,
    arithmetic: Arithmetic,
) -> float:  # fmt: skip
    """Return the median seconds of a batched step; the networks are trained by some steps."""
    training = fit_together(
        networks, lambda epoch: repeat((inputs, targets)), recipe,
        steps_per_epoch=WARM_UP + TIMED, seed=0, arithmetic=arithmetic,
    )  # fmt: skip
    return median_seconds(training, inputs.device)


def time_ratio(
    single: Iterator[Position],
    batched: Iterator[Position],
    count: int,
    device: torch.device,
    *,
    steps: int = 7,
    longest: float = inf,
) -> float:
    """Return how many times longer `count` steps of one training take than one of a batched one.

    Args:
        single, batched: trainings that have not begun; some steps of both are taken.
        count: how many networks the batched one has.
        device: where they are.
        steps: how many batched steps are timed.
        longest: seconds; where a single step takes longer, the batched one is not tried.

    Returns:
        the ratio of the medians; 0 where the batched training fails or is not tried.
    """
    alone = [seconds_of(single, 1, device) for _ in range(WARM_UP)][-1]
    if alone > longest:
        return 0.0
    in_turn, together = [], []
    try:
        seconds_of(batched, WARM_UP, device)
        for _ in range(steps):
            together.append(seconds_of(batched, 1, device))
            in_turn.append(seconds_of(single, count, device))
    except (Diverged, RuntimeError):
        return 0.0
    return median(in_turn) / median(together)


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
                    "networks that are trained together must be of one architecture: "
                    f"number {number} has {others} where number 1 has {ours}"
                )


def _architecture(network: nn.Module) -> list[str]:
    """Describe layers and tensors line by line: the same lines, one architecture."""
    tensors = [
        f"{name}: {'×'.join(map(str, tensor.shape)) or 'one number'} of {tensor.dtype} on "
        f"{tensor.device}{', trained' if tensor.requires_grad else ''}"
        for name, tensor in _tensors(network).items()
    ]
    return [line.strip() for line in str(network).splitlines()] + tensors

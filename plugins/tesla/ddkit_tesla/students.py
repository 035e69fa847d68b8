"""The student: a network as a function of its parameters, and where its trajectory is kept."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from ddkit import DdkitError, batch_norms

Parameters = list[Tensor]


@dataclass(frozen=True)
class Snapshots:
    """How the students of pass 1 are kept for pass 2.

    Attributes:
        where: "device", or "host": in pinned memory, copied beside the computation.
        every: k keeps every k-th and takes the steps between again (one more pass without graphs
            for k > 1, and T/k + k students instead of T); 0 stands for √T.
    """

    where: Literal["device", "host"] = "device"
    every: int = 1

    def spacing(self, steps: int) -> int:
        """Return k for so many steps."""
        return self.every or ceil(sqrt(steps))

    def most(self, steps: int) -> int:
        """Return how many students at most are on the device at once, the first one included."""
        if not steps:
            return 0
        spacing = self.spacing(steps)
        waiting = ceil(steps / spacing) - 1 if self.where == "device" else 0
        return waiting + min(spacing, steps)


class Students:
    """θ_0 … θ_T of one matching: `last` at once, the others backwards."""

    def __init__(
        self,
        start: Parameters,
        steps: int,
        advance: Callable[[Parameters, int], Parameters],
        snapshots: Snapshots,
    ):
        self.steps = steps
        self._advance = advance
        self._device = start[0].device
        self._where = "cpu" if snapshots.where == "host" else self._device
        self._every = snapshots.spacing(steps)
        self._kept: dict[int, Parameters] = {}
        student = start
        for step in range(steps):
            if step % self._every == 0:
                self._kept[step] = self._moved(student, self._where)
            student = advance(student, step)
        self.last = student

    def backwards(self) -> Iterator[tuple[int, Parameters]]:
        """Serve (i, θ_i) for i = T − 1 … 0, once; what was served is not kept."""
        for first in sorted(self._kept, reverse=True):
            stretch = [self._moved(self._kept.pop(first), self._device)]
            for step in range(first, min(first + self._every, self.steps) - 1):
                stretch.append(self._advance(stretch[-1], step))
            while stretch:
                yield first + len(stretch) - 1, stretch.pop()

    def _moved(self, student: Parameters, device: torch.device | str) -> Parameters:
        # not blocking: copies to the host then land in pinned memory and queue like any operation
        return [tensor.to(device, non_blocking=True) for tensor in student]


def check_micro_batch(size: int, network: nn.Module) -> None:
    """Raise `DdkitError` where parts of a batch would not give what the whole batch does."""
    if size and batch_norms(network):
        raise DdkitError(
            "this network has batch norms, whose statistics need the whole batch: use "
            "--set micro_batch=0, or a network with instance or group norm"
        )


def as_function(network: nn.Module) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    """Return (parameters in the order of `network.parameters()`, inputs) → logits.

    Batch norms use the statistics of the batch, as in training, and keep none. Dropout is off: a
    student has to repeat its steps.
    """
    network = copy.deepcopy(network).eval()
    for layer in batch_norms(network):
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    names = [name for name, _ in network.named_parameters()]

    def call(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        logits: Tensor = torch.func.functional_call(network, named, (inputs,))
        return logits

    return call

"""What both sides are given: colour images of 32 px, a ConvNet-3 of width 32, an expert."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.device.made_up import run_of
from ddkit import networks
from ddkit.data.loading.resident import Resident
from ddkit.data.options import DataOptions
from ddkit.data.sources.load import SplitName, load
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.run import Run

SIDE, DEPTH, WIDTH = 32, 3, 32
NETWORK = f"convnet:depth={DEPTH}:width={WIDTH}"
CPU = torch.device("cpu")
EXPERT_BATCHES, EXPERT_BATCH, EXPERT_RATE = 30, 128, 0.02  # of one stretch of an expert's way


@dataclass(frozen=True)
class Inputs:
    """The data, and how long is measured.

    Attributes:
        data: a name as `--data` of ddkit takes it; grey images get three equal channels.
        folder: for what is written meanwhile.
        seconds: of each measurement of time.
        seeds, epochs: of evaluations.
    """

    data: str
    folder: Path
    seconds: float
    seeds: int
    epochs: int

    @cached_property
    def train(self) -> Split:
        return coloured(self.data, "train")

    @cached_property
    def test(self) -> Split:
        return coloured(self.data, "test")

    @cached_property
    def resident(self) -> Resident:
        return Resident(self.train, InputSpace.fit(self.train, "standard"), CPU)

    @property
    def classes(self) -> int:
        return len(self.train.classes)

    def run(self, method: str, ipc: int, *settings: str) -> Run:
        """Return a run of a method on the data."""
        folder = self.folder / f"{method}-{ipc}"
        folder.mkdir(exist_ok=True)
        return run_of(
            method,
            NETWORK,
            self.train.shape,
            folder,
            CPU,
            classes=self.classes,
            ipc=ipc,
            train=self.train,
            settings=settings,
        )

    def images(self, ipc: int, first: int = 0) -> tuple[Tensor, Tensor]:
        """Return images of each class from the `first` on as network inputs, and their classes."""
        labels = self.train.labels
        rows = torch.cat(
            [(labels == c).nonzero().flatten()[first : first + ipc] for c in range(self.classes)]
        )
        return self.resident.inputs(rows), labels[rows]

    @cached_property
    def expert(self) -> list[list[Tensor]]:
        """The parameters of a network before, between and after two stretches of training."""
        network = self.network(0)
        parameters = list(network.parameters())
        kept = [[p.detach().clone() for p in parameters]]
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(0))
        for _ in range(2):
            for number in range(EXPERT_BATCHES):
                rows = order.roll(-number * EXPERT_BATCH)[:EXPERT_BATCH]
                logits = network(self.resident.inputs(rows))
                loss = F.cross_entropy(logits, self.train.labels[rows])
                slopes = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    for p, slope in zip(parameters, slopes, strict=True):
                        p -= EXPERT_RATE * slope
            kept.append([p.detach().clone() for p in parameters])
        return kept

    def network(self, seed: int) -> nn.Module:
        """Return ddkit's network, initialised from a seed."""
        generator = torch.Generator().manual_seed(seed)
        return networks.create(
            NETWORK, classes=self.classes, shape=self.train.shape, generator=generator
        )


def coloured(data: str, part: SplitName) -> Split:
    """Return a split of colour images; the released ConvNet pads grey ones otherwise."""
    split = load(DataOptions(name=data, resize=SIDE), part)
    images = split.take(torch.arange(len(split)))
    images = images.expand(-1, 3, -1, -1).contiguous()
    return Split(images, split.labels, split.classes)


def twin(module: ModuleType, network: nn.Module) -> nn.Module:
    """Return the ConvNet of a released networks.py with the weights of ddkit's."""
    parameters = list(network.parameters())
    classes = len(parameters[-1])
    made = module.ConvNet(
        3, classes, WIDTH, DEPTH, "relu", "instancenorm", "avgpooling", (SIDE, SIDE)
    ).to(parameters[0].dtype)
    with torch.no_grad():
        for own, other in zip(made.parameters(), parameters, strict=True):
            own.copy_(other)
    found: nn.Module = made
    return found


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """Let tensors that released code makes be of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

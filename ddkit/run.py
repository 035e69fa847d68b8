"""`Run`: the one argument every hook gets. It has no test split; only evaluation opens that."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddkit import networks, seeds
from ddkit.config import RunConfig, StageName
from ddkit.data.resident import Resident
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.errors import DdkitError
from ddkit.objective import Shard
from ddkit.plugins import Plugin
from ddkit.progress import Progress, Silent
from ddkit.storage import TensorFile


@dataclass(frozen=True)
class Run:
    """What a stage works with.

    Attributes:
        config: the whole run, resolved.
        options: the options of the plugin that runs this stage, as its own model.
        train: the training split, without the holdout.
        holdout: a stratified part of the training split for whatever a method wants to select or
            tune; None where the run sets none aside.
        space: how pixels become network inputs.
        device: where the work is done.
        folder: where this run's files lie.
        progress: what long work reports to.
    """

    config: RunConfig
    options: Any
    train: Split
    holdout: Split | None
    space: InputSpace
    device: torch.device
    folder: Path
    progress: Progress = field(default_factory=Silent)

    def for_stage(self, name: StageName, *, pool: bool = False) -> "Run":
        """Return this run with the options of a stage's plugin, or of the pool it works with."""
        stage = self.config.pool_stage(name) if pool else self.config.stage(name)
        model = Plugin(stage.plugin).options_model()
        return replace(self, options=model.model_validate(stage.options))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def ipc(self) -> int:
        return self.config.ipc

    @property
    def total(self) -> int:
        """The number of synthetic images."""
        return len(self.classes) * self.ipc

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.train.shape

    def generator(
        self, purpose: str, *indices: int, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """Return the generator for one purpose of this run; it follows from the seed alone."""
        return seeds.generator(self.config.seed, purpose, *indices, device=device)

    def network(self, generator: torch.Generator, spec: str | None = None) -> nn.Module:
        """Return a fresh network on the device: the run's own, unless `spec` is given."""
        network = networks.create(
            spec or self.config.network,
            classes=len(self.classes),
            shape=self.shape,
            generator=generator,
        )
        return network.to(self.device)

    @cached_property
    def resident(self) -> Resident:
        """The training split on the device."""
        return Resident(self.train, self.space, self.device)

    def shard(self, index: int, slots: Tensor) -> Shard:
        """Return the shard that holds these slots (int64) of the class-major set."""
        return Shard(index, slots, slots // self.ipc)

    def initial_inputs(self, shard: Shard) -> Tensor:
        """Return where a shard's images start, as network inputs on the CPU.

        Real images are the same for every method and every cut into shards: image i of class c is
        number i of a shuffle of that class that follows from the seed.
        """
        start = self.config.init
        if start == "noise":
            generator = self.generator("initial noise", shard.index)
            return torch.randn(len(shard), *self.shape, generator=generator)
        images = self.initial_real() if start == "real" else self._initial_from(Path(start))
        return self.space.to("cpu").encode(images[shard.slots])

    def initial_real(self) -> Tensor:
        """Return ipc random real images per class, in data space, class-major."""
        chosen = []
        for label, name in enumerate(self.classes):
            members = (self.train.labels == label).nonzero().flatten()
            if len(members) < self.ipc:
                raise DdkitError(
                    f"class '{name}' has {len(members)} training images, fewer than --ipc "
                    f"{self.ipc}: lower --ipc, leave the class out (--classes) or use --init noise"
                )
            order = torch.randperm(len(members), generator=self.generator("initial", label))
            chosen.append(members[order[: self.ipc]])
        return self.train.images[torch.cat(chosen)].float() / 255

    def _initial_from(self, path: Path) -> Tensor:
        from ddkit.distilled import DistilledDataset

        if path.is_dir():
            path = path / "distilled.safetensors"
        distilled = DistilledDataset(TensorFile(path))
        images = distilled.pixels(torch.arange(len(distilled)))
        if images.shape != (self.total, *self.shape):
            raise DdkitError(
                f"--init {path} holds {tuple(images.shape)} images, this run distils "
                f"{(self.total, *self.shape)}: use the same classes, ipc and size"
            )
        return images

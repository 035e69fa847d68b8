"""`Run`: the one argument every hook gets. It has no test split; only evaluation opens that."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddkit import networks
from ddkit.config import RunConfig, StageName, validated
from ddkit.data.loading.resident import Resident
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.methods.plugin import Plugin
from ddkit.runtime import seeds
from ddkit.runtime.arithmetic import (
    Arithmetic,
    Asked,
    Loop,
    Precision,
    Trial,
)
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import settled
from ddkit.runtime.moving import send
from ddkit.runtime.progress import Progress, Silent
from ddkit.synthesis.objective import Shard


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
        options = validated(model, stage.options, f"the method '{stage.plugin}'")
        return replace(self, options=options)

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
        return send(network, self.device)

    @cached_property
    def resident(self) -> Resident:
        """The training split on the device."""
        return Resident(self.train, self.space, self.device)

    def settled(self, name: str, choose: Callable[[], Any]) -> Any:
        """Return what `choose` (→ a JSON value) returned when this run asked first.

        For choices that follow from measurements; `choose` may ask for other choices.
        """
        return settled(self.folder, name, choose)

    def arithmetic(
        self,
        name: str,
        bears: Sequence[Precision],
        trial: Trial,
        *,
        layouts: bool = False,
        steps: int = 0,
        folder: Path | None = None,
    ) -> Arithmetic:
        """Return how a loop computes: as the run says, or measured on CUDA and kept.

        Args:
            name: of the loop, for the record.
            bears, layouts, steps: what is known of it; see `Loop`.
            trial: as for `Asked.choose`.
            folder: where the choice is kept; that of the run, unless it belongs to a pool.
        """
        asked, loop = self._asked, Loop(self.device, bears, layouts, steps)
        if not asked.measures(loop):
            return asked.choose(loop, trial)

        def choose() -> dict[str, Any]:
            chosen = asked.choose(loop, trial)
            self.progress.note(f"{name}: computed in {chosen}, the fastest here")
            return asdict(chosen)

        return Arithmetic(**settled(folder or self.folder, f"arithmetic of {name}", choose))

    def may_choose(
        self, bears: Sequence[Precision], *, layouts: bool = False
    ) -> Sequence[Arithmetic]:
        """Return how a loop that trains no network may come to compute, before it is measured."""
        return self._asked.candidates(Loop(self.device, bears, layouts))

    @property
    def _asked(self) -> Asked:
        return Asked(self.config.precision, self.config.compile)

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
        images = self.initial_real(shard.slots) if start == "real" else self._start(shard.slots)
        return self.space.to("cpu").encode(images)

    def initial_real(self, slots: Tensor | None = None) -> Tensor:
        """Return random real images for these slots (int64; all), float32 in data space."""
        slots = torch.arange(self.total) if slots is None else slots
        rows = torch.cat([self._chosen(label) for label in range(len(self.classes))])
        return self.train.take(rows[slots]).float() / 255

    def check_initial(self) -> None:
        """Raise `DdkitError` where the images have nothing to start from, before work begins."""
        if self.config.init == "real":
            for label in range(len(self.classes)):
                self._chosen(label)
        elif self.config.init != "noise":
            self._start(torch.arange(1))

    def _chosen(self, label: int) -> Tensor:
        """Return the ipc training images that a class starts from."""
        members = (self.train.labels == label).nonzero().flatten()
        if len(members) < self.ipc:
            raise DdkitError(
                f"class '{self.classes[label]}' has {len(members)} training images, fewer than "
                f"--ipc {self.ipc}: lower --ipc, leave the class out (--classes) or --init noise"
            )
        order = torch.randperm(len(members), generator=self.generator("initial", label))
        return members[order[: self.ipc]]

    def _start(self, slots: Tensor) -> Tensor:
        """Return the images of the artifact that `init` names."""
        from ddkit.distilled.dataset import load

        distilled = load(self.config.init)
        if (len(distilled), *distilled.shape) != (self.total, *self.shape):
            raise DdkitError(
                f"--init {self.config.init} holds {len(distilled)} images of {distilled.shape}, "
                f"this run distils {self.total} of {self.shape}: use the same classes, ipc and size"
            )
        return distilled.pixels(slots)


def find_device(name: str) -> torch.device:
    """Return a device by name; raises `DdkitError` where there is no such device here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DdkitError(f"--device {name} is no device: use cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DdkitError(f"--device {name} is not supported: use cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DdkitError(f"--device {name}: torch sees no such CUDA device here; use --device cpu")
    return device

"""`Run`: the one argument every hook gets. It has no test split; only evaluation opens that."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddkit import networks
from ddkit.config import RunConfig
from ddkit.data.formation import unpacked
from ddkit.data.loading.resident import Resident
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.runtime import seeds
from ddkit.runtime.arithmetic import Arithmetic, ArithmeticRequest, Loop, Precision, Trial
from ddkit.runtime.cache import settled
from ddkit.runtime.execution.units import Job
from ddkit.runtime.moving import send
from ddkit.runtime.progress import Progress, Silent


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
        pool_options: the options of the plugin that builds the stage's pool, as its own model.
        start: slots (int64) → pixels of the artifact that `config.init` names; None where it names
            none.
    """

    config: RunConfig
    options: Any
    train: Split
    holdout: Split | None
    space: InputSpace
    device: torch.device
    folder: Path
    progress: Progress = field(default_factory=Silent)
    pool_options: Any = None
    start: Callable[[Tensor], Tensor] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def ipc(self) -> int:
        return self.config.ipc

    @property
    def total(self) -> int:
        """The number of synthetic images, as they are stored."""
        return len(self.classes) * self.ipc

    @cached_property
    def decoded(self) -> "Run":
        """The run as a method sees it: of each stored image, the training images that it holds."""
        factor = self.config.factor
        if factor == 1:
            return self
        parts = factor**2
        config = self.config.model_copy(update={"ipc": self.ipc * parts, "factor": 1})

        def training(start: Callable[[Tensor], Tensor], slots: Tensor) -> Tensor:
            images = unpacked(start(slots // parts), factor)
            return images[torch.arange(len(slots)) * parts + slots % parts]

        start = None if self.start is None else partial(training, self.start)
        return replace(self, config=config, start=start)

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
        precisions: Sequence[Precision],
        trial: Trial,
        *,
        layouts: bool = False,
        steps: int = 0,
        folder: Path | None = None,
    ) -> Arithmetic:
        """Return how a loop computes: as the run says, or measured on CUDA and kept.

        Args:
            name: of the loop, for the record.
            precisions, layouts, steps: what is known of it; see `Loop`.
            trial: as for `Asked.choose`.
            folder: where the choice is kept; that of the run, unless it belongs to a pool.
        """
        asked, loop = self._asked, Loop(self.device, precisions, layouts, steps)
        if not asked.measures(loop):
            return asked.choose(loop, trial)

        def choose() -> dict[str, Any]:
            chosen = asked.choose(loop, trial)
            self.progress.note(f"{name}: computed in {chosen}, the fastest here")
            return asdict(chosen)

        return Arithmetic(**settled(folder or self.folder, f"arithmetic of {name}", choose))

    def may_choose(
        self, precisions: Sequence[Precision], *, layouts: bool = False
    ) -> Sequence[Arithmetic]:
        """Return how a loop that trains no network may come to compute, before it is measured."""
        return self._asked.candidates(Loop(self.device, precisions, layouts))

    def job(self, title: str, function: str, **arguments: Any) -> Job:
        """Return a job of this run's own units: they get its configuration and folder."""
        common = {
            "config": self.config.model_dump(mode="json"),
            "folder": str(self.folder.absolute()),
            **arguments,
        }
        return Job(title, function, common, self.config.threads, self.device.type == "cuda")

    @property
    def _asked(self) -> ArithmeticRequest:
        return ArithmeticRequest(self.config.precision, self.config.compile)

"""One method at work on data that are watched, stage by stage, as the pipeline would do it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddkit.config import RunConfig
from ddkit.labels import Labels
from ddkit.methods.options import MethodOptions
from ddkit.methods.plugin import Plugin, lookup, options_model
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage, Stages
from ddkit.pools.pool import Pool
from ddkit.pools.training import train_pool
from ddkit.run import Run
from ddkit.runtime.arithmetic import EXACT
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.leaves import LeafState
from ddkit.synthesis.objective import Objective
from ddkit.synthesis.shard_file import assembled
from ddkit.synthesis.shards import Shard
from ddkit.testing.data import WATCHED, Watched
from ddkit.testing.generators import odd_generators

STEPS = 4  # where the settings say nothing


class Subject:
    """A method under test. What it makes for a run with seed 0 is made once and shared by tests.

    Attributes:
        disturbed: each hook that changed a generator that the process shares, and whose it is.
        opened_test: each hook that opened the test split.
    """

    def __init__(
        self, method: str, settings: Sequence[str], source: Watched, folder: Path, **common: Any
    ):
        self.method = method
        self.settings = [*settings, *_few_steps(method, settings)]
        self.common = {"threads": 1, **common}
        self.folder = folder
        self.source = source
        self.disturbed: list[tuple[str, str]] = []
        self.opened_test: list[str] = []
        self._watches = 0

    @cached_property
    def config(self) -> RunConfig:
        return self.resolved()

    def resolved(self, *settings: str, **common: Any) -> RunConfig:
        """Return the run as the command line would resolve it, with further settings and flags."""
        request = Request(
            self.method,
            {**self.common, **common},
            {"name": WATCHED},
            [*self.settings, *settings],
            preset="none",
        )
        return resolve(request)

    @property
    def plugin(self) -> Plugin:
        return Plugin(lookup(self.method)[0])

    @property
    def options(self) -> MethodOptions:
        return self.plugin.options_model().model_validate(self.config.options)

    def run(self, name: str, **common: Any) -> Run:
        """Return the run in a folder of its own."""
        config = self.resolved(**common) if common else self.config
        return prepare(config, self.folder / name)

    @cached_property
    def pool(self) -> Pool:
        return self.train("pool")

    def train(self, name: str) -> Pool:
        """Train the pool in a folder of its own."""
        run = self.run(name)
        with self.watching("build_pool"):
            plan = Stage(run, "synthesis").plan
            tasks, description = plan.tasks, plan.description
            if not tasks:
                return Pool(run.folder, run.device)
            train_pool(tasks, run.folder, description, run.space, run.device)
        return Pool.open(run.folder, run.device)

    def engine(self, name: str, **common: Any) -> Engine:
        """Return the synthesis, in a folder of its own, that saves after every step."""
        run = self.run(name, **common)
        run.settled("arithmetic of the synthesis", lambda: asdict(EXACT))  # nothing is measured
        pool = Pool.open(self.pool.folder, run.device) if len(self.pool) else self.pool
        with self.watching("synthesis_loss"):
            engine = pipeline.engine_of(Stages(run), pool)
        engine.checkpoint_seconds = 0.0
        return engine

    @cached_property
    def steps(self) -> int:
        return self.engine("steps").objective.steps

    @cached_property
    def shards_fault(self) -> str | None:
        """What is wrong with the shards of the set, for every number of groups it may have."""
        ipc = self.config.ipc
        for groups in (1,) if self.options.makes_own_shards else range(1, ipc + 1):
            objective = self.engine(f"groups-{groups}", groups=groups).objective
            shards, total = objective.shards(), objective.run.total
            slots = sorted(slot for shard in shards for slot in shard.slots.tolist())
            if slots != list(range(total)):
                return f"shards() holds the images {slots} of {total}"
            if len({shard.index for shard in shards}) < len(shards):
                return "two of shards() have the same index"
            for shard in shards:
                if not torch.equal(shard.classes, shard.slots // ipc):
                    return f"the classes of shard {shard.index} are not those of its slots"
        return None

    def stepper(self, name: str) -> "Stepper":
        """Return the first shard, to be optimised by hand."""
        return Stepper(self, self.engine(name).objective)

    @cached_property
    def images(self) -> Synthetic:
        return self.synthesise("images")

    def synthesise(self, name: str, **common: Any) -> Synthetic:
        """Optimise every shard from its last checkpoint in the folder `name` on.

        Returns training images, which stored ones hold several of where there is a factor.
        """
        engine = self.engine(name, **common)
        with self.watching("synthesis_loss"):
            engine.synthesise()
            files = [engine.file(shard) for shard in engine.objective.shards()]
            return assembled(files, "auto", engine.run.config.factor).decoded()

    @cached_property
    def labels(self) -> Labels:
        return self.label("labels", self.images)

    def label(self, name: str, images: Synthetic) -> Labels:
        """Label finished images in a folder of its own."""
        stage = Stage(self.run(name), "relabel").run
        with self.watching("relabel"):
            return self.plugin.relabel(stage, self.pool, images)

    @contextmanager
    def watching(self, hook: str) -> Iterator[None]:
        """Note what a hook does that it must not do, in a process whose generators are odd."""
        self._watches += 1
        opened = self.source.opened
        try:
            with odd_generators(self._watches) as changed:
                yield
        finally:
            self.disturbed += [(hook, name) for name in changed]
            self.opened_test += [hook] * (self.source.opened - opened)


class Stepper:
    """The steps of a shard one at a time, so that a test can look at what lies between."""

    def __init__(self, subject: Subject, objective: Objective):
        self.subject = subject
        self.objective = objective
        self.leaves: dict[str, LeafState] = {}
        with self.watching():
            objective.compute_with(EXACT)
            self.shard: Shard = objective.shards()[0]
        self.begin()

    def watching(self) -> Any:
        return self.subject.watching("synthesis_loss")

    def begin(self) -> None:
        """Start the shard again."""
        with self.watching():
            self.leaves = {
                name: LeafState(leaf, self.objective.run.device)
                for name, leaf in self.objective.initialise(self.shard).items()
            }

    def loss(self, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return what a step differentiates, and its loss."""
        with self.watching():
            drawn = self.objective.draw(self.shard, step)
            tensors = {name: leaf.tensor(drawn.get(name)) for name, leaf in self.leaves.items()}
            return tensors, self.objective.loss(self.shard, tensors, step)

    def take(self, step: int) -> dict[str, Tensor | None]:
        """Take a step and return the gradient that reached each leaf."""
        tensors, loss = self.loss(step)
        with self.watching():
            loss.backward()
        for leaf in self.leaves.values():
            leaf.update(step / self.objective.steps)
        return {name: tensor.grad for name, tensor in tensors.items()}

    def decoded(self) -> Synthetic:
        """Return the shard's images as they are now."""
        values = {name: leaf.result for name, leaf in self.leaves.items()}
        with self.watching():
            return self.objective.decode(self.shard, values)


def _few_steps(method: str, settings: Sequence[str]) -> list[str]:
    """Return the setting that makes a run short, where the author left it out."""
    name = options_model(lookup(method)[0]).steps_option
    said = [setting.partition("=")[0].strip() for setting in settings]
    return [f"{name}={STEPS}"] if name and name not in said else []

"""Small runs of every method on made-up data that a network can learn in no time."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.device.parts import Bench
from ddkit import register_data
from ddkit.config import RunConfig
from ddkit.data.sources.registered import is_registered
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage, Stages
from ddkit.runtime.arithmetic import EXACT, Arithmetic
from ddkit.runtime.progress import Progress
from ddkit.synthesis.engine import Engine, take_step
from ddkit.synthesis.leaves import LeafState

DATA, SIDE, CLASSES = "made-up", 16, 10
TRAIN, TEST = 400, 100
CONVNET, NORMED = "convnet:width=16", "convnet:width=16:norm=batch"
PINNED = {"precision": "fp32", "compile": "off"}  # nothing is left to a clock


@dataclass(frozen=True)
class Method:
    """A method with the options of a small run."""

    name: str
    settings: tuple[str, ...] = ()
    network: str = CONVNET
    flags: Mapping[str, Any] = field(default_factory=dict)


TEDDY = (
    "unit=step",
    "first=1",
    "last=9",
    "every=4",
    "train_batch=64",
    "recalibrate=64",
    "iterations=8",
    "label_epochs=2",
    "lr=0.01",
)
TESLA = (
    "experts=2",
    "train_epochs=2",
    "max_start_epoch=1",
    "expert_epochs=1",
    "student_steps=3",
    "iterations=6",
    "train_batch=64",
    "together=1",
    "lr_images=10",
)
APM = (
    "teachers=2",
    "train_epochs=1",
    "train_batch=64",
    "together=1",
    "rounds=4",
    "student_epochs=6",
    "checkpoints=3",
)
LOOPS = ("updates=6", "outer_loop=3", "inner_epochs=2", "batch_real=16")
METHODS = {
    "Teddy": Method("teddy", TEDDY, NORMED),
    "Teddy, exact statistics and crops": Method(
        "teddy", (*TEDDY, "statistics=exact", "augmentation=rrc-flip"), NORMED
    ),
    "Teddy, pruned pool": Method(
        "teddy",
        (*TEDDY, "pool=post", "members=2", "prune_ratio=0.25", "finetune_epochs=0.2"),
        NORMED,
    ),
    "TESLA": Method("tesla", TESLA),
    "TESLA, hard labels": Method("tesla", (*TESLA, "labels=hard")),
    "APM": Method("apm", APM),
    "DM": Method("dm", ("updates=6", "batch_real=16")),
    "DSA": Method("dsa", LOOPS),
    "DC, batch norm": Method("dc", LOOPS, NORMED),
    "herding": Method("herding", ("train_epochs=1",)),
}


def config_of(bench: Bench, name: str, *settings: str, **flags: Any) -> RunConfig:
    """Return the configuration of a method's small run, in pinned arithmetic if not said else."""
    method = METHODS[name]
    common = {
        "ipc": 2,
        "network": method.network,
        "device": str(bench.device),
        "threads": 1,
        **PINNED,
        **method.flags,
        **flags,
    }
    given = [*method.settings, *settings]
    return resolve(Request(method.name, common, {"name": data()}, given, "none"))


def data() -> str:
    """Return the name of the made-up data, which this process then knows."""
    if not is_registered(DATA):
        register_data(DATA, images_of(TRAIN, 0), images_of(TEST, 1))
    return DATA


def images_of(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images, each of its class's pattern under noise, and their classes."""
    patterns = torch.rand(CLASSES, 3, 4, 4, generator=torch.Generator().manual_seed(9))
    patterns = torch.nn.functional.interpolate(patterns, (SIDE, SIDE), mode="bilinear")
    labels = torch.arange(count) % CLASSES
    noise = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return (255 * (0.6 * patterns[labels] + 0.4 * noise)).to(torch.uint8), labels


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Let ddkit keep pools and evaluations in a folder for the time of the block."""
    before = os.environ.get("DDKIT_CACHE")
    os.environ["DDKIT_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["DDKIT_CACHE"]
        if before is not None:
            os.environ["DDKIT_CACHE"] = before


def distilled(config: RunConfig, folder: Path, progress: Progress | None = None) -> Path:
    """Distil with a cache in the run's own folder, so that its pool is trained too."""
    with own_cache(folder / "cache"):
        return pipeline.distill(config, folder / "run", progress)


class Steps:
    """The steps of a small run's first shard, one at a time."""

    def __init__(self, bench: Bench, name: str, *settings: str, **flags: Any):
        config = config_of(bench, name, *settings, **flags)
        self.run = Stage(prepare(config, bench.scratch()), "synthesis").run
        pool = stage_pools.open_pool(self.run, "synthesis")
        self.engine: Engine = pipeline.engine_of(Stages(self.run), pool)
        self.shard = self.engine.objective.shards()[0]
        self.leaves: dict[str, LeafState] = self.engine._leaves(self.shard)
        self.taken = 0

    def take(self, count: int = 1, arithmetic: Arithmetic = EXACT) -> None:
        for _ in range(count):
            take_step(self.engine.objective, self.shard, self.leaves, self.taken, arithmetic)
            self.taken += 1

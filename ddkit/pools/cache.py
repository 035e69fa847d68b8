"""The cache of pools: what is in it, and how near its members are to a student."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import load
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation.training import train_on
from ddkit.pipeline import evaluate as comparison
from ddkit.pools.pool import Pool, read_description
from ddkit.runtime import seeds
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.files import cache_folder, locked
from ddkit.runtime.progress import Progress

STAGES = 5  # how often the student is compared
SAMPLE = 1000  # images that distributions are compared on


@dataclass(frozen=True)
class CachedPool:
    """A pool in the cache, finished or not."""

    folder: Path
    description: dict[str, Any]
    bytes: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        return bool(self.description)

    @property
    def members(self) -> int:
        return len(Pool.open(self.folder))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "bytes": self.bytes, **self.description}


def cached() -> list[CachedPool]:
    """Return the pools of the cache, by name; an unfinished one has an empty description."""
    folder = cache_folder("pools")
    if not folder.is_dir():
        return []
    return [
        CachedPool(path, _description(path), size(path))
        for path in sorted(folder.iterdir())
        if path.is_dir()
    ]


def _description(folder: Path) -> dict[str, Any]:
    """Return what a pool says of itself; nothing where it is unfinished or cannot be read."""
    try:
        return read_description(folder)
    except DdkitError:
        return {}


def find(name: str) -> Path:
    """Return the folder of a cached pool; raises `DdkitError` for an unknown name."""
    names = {pool.name: pool.folder for pool in cached()}
    if name not in names:
        raise unknown("pool", name, names, hint="see `ddkit pool list`")
    return names[name]


def delete(folder: Path) -> int:
    """Delete a pool and return the bytes it took; raises `DdkitError` while one trains it."""
    with locked(folder, "the pool"):
        freed = size(folder)
        shutil.rmtree(folder)
    return freed


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def student_distances(
    folder: Path, artifact: Path, epochs: int, data: str | None, progress: Progress
) -> tuple[list[int], list[list[float]]]:
    """Return at which epochs a student was compared, and for each member KL(member ‖ student) then.

    The student is the run's network, trained on the artifact with its own labels (section 3.3 of
    Teddy); distributions are compared on up to 1,000 real training images, in nats.
    """
    distilled = load(artifact)
    config = comparison.config_of(distilled, data, None)
    protocol = evaluation.default_protocol(distilled).with_recipe(epochs=epochs)
    network = comparison.own_network(distilled)
    run = comparison.run_of(distilled, config, artifact.parent, progress)
    pool = Pool.open(folder, run.device)
    if (len(run.classes), list(run.shape)) != (
        pool.description["classes"],
        pool.description["shape"],
    ):
        raise DdkitError(
            f"the pool is for {pool.description['classes']} classes of {pool.description['shape']} "
            f"images, {artifact} for {len(run.classes)} of {list(run.shape)}"
        )
    sample = torch.randperm(len(run.train), generator=seeds.generator(0, "sample"))[:SAMPLE]
    inputs = run.resident.inputs(sample)
    seen = Resident(run.train, pool.space(), run.device).inputs(sample)  # in the members' space
    teachers = [log_probabilities(pool.network(index), seen) for index in range(len(pool))]
    stages = sorted({max(1, round(epochs * (n + 1) / STAGES)) for n in range(STAGES)})
    rows: list[list[float]] = [[] for _ in teachers]
    done = 0

    def compare(student: nn.Module) -> None:
        nonlocal done
        done += 1
        task.advance()
        if done in stages:
            student.eval()
            own = log_probabilities(student, inputs)
            for row, teacher in zip(rows, teachers, strict=True):
                row.append(kl(teacher, own))

    with progress.task("student", epochs) as task:
        train_on(distilled, protocol, network, 0, run.device, compare)
    return stages, rows


@torch.no_grad()
def log_probabilities(network: nn.Module, inputs: Tensor, batch: int = 250) -> Tensor:
    """Return log-softmax outputs (N, classes) of a network in eval mode."""
    parts: Sequence[Tensor] = [network(part) for part in inputs.split(batch)]
    return F.log_softmax(torch.cat(list(parts)), dim=1)


def kl(teacher: Tensor, student: Tensor) -> float:
    """Return KL(teacher ‖ student) of log-probabilities (N, classes), mean over images, in nats."""
    return float(F.kl_div(student, teacher, reduction="batchmean", log_target=True))

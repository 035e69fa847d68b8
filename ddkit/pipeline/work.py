"""What other processes do of a run: each function finds one unit again and does it.

They give what the same unit gives in the driver, and refuse to work on what differs from there.
"""

import json
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ddkit.bench.config import BenchConfig
from ddkit.bench.harness import Harness
from ddkit.config import RunConfig, StageName
from ddkit.data.access import sealed_test
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import load
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.units import trained
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.evaluate import opened
from ddkit.pipeline.shortage import enough_memory_for
from ddkit.pools import training as pool_training
from ddkit.run import Run
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import write_json
from ddkit.runtime.process import settle
from ddkit.runtime.progress import Progress, Silent
from ddkit.synthesis.engine import Engine


def train_group(
    progress: Progress, *, config: dict[str, Any], folder: str, stage: StageName, pool: str,
    tasks: list[str],
) -> None:  # fmt: skip
    """Train those tasks of a stage's pool, in the folder `pool`, that are trained at once.

    Raises `DdkitError` where this machine would train another pool than the driver asks for.
    """
    with sealed_test():
        run = _run(config, folder, progress)
        known, found, description = stage_pools.pool_plan(run, stage)
        if found.absolute() != Path(pool):
            raise DdkitError(
                f"this machine would train the pool {found.name}, not {Path(pool).name}: ddkit, "
                "its plugins, the data and files of networks must be the same on all machines"
            )
        named = {task.name: task for task in known}
        group = [named[name] for name in tasks]
        with enough_memory_for(run.config, "pool"):
            pool_training.train_group(group, found, description, run.device)


def optimise_shard(
    progress: Progress, *, config: dict[str, Any], folder: str, snapshot_every: int, shard: int
) -> None:
    """Optimise the shard of this number in a run's folder."""
    asked = RunConfig.model_validate(config)
    with sealed_test(), enough_memory_for(asked, "synthesis"):
        inputs = (Path(folder) / "inputs.json").read_text(encoding="utf-8")
        engine = _engine(json.dumps(config), folder, snapshot_every, inputs)
        _settle(engine.run)
        chosen = next(one for one in engine.objective.shards() if one.index == shard)
        with progress.task(f"shard {shard}", engine.objective.steps) as task:
            if not engine.final(chosen).exists():
                engine.optimise(chosen, task)


@lru_cache(maxsize=1)  # many shards of one run: the data are loaded once
def _engine(config: str, folder: str, snapshot_every: int, inputs: str) -> Engine:
    """Return the engine of a run that began with these inputs; its pool is finished."""
    run = _run(json.loads(config), folder)
    pipeline.check_inputs(run)
    pool = stage_pools.open_pool(run, "synthesis")
    return pipeline.engine_of(run, pool, snapshot_every)


def evaluate_seeds(
    progress: Progress, *, config: dict[str, Any], folder: str, artifact: str,
    dataset: str | None, protocol: dict[str, Any], network: str, together: bool,
    seeds: list[int], out: str,
) -> None:  # fmt: skip
    """Train a network for each seed on a set, or on all real data, and write what they reach."""
    run, test = _comparison(json.dumps(config), folder, artifact)
    _settle(run)
    beside = load(dataset) if dataset else None
    if beside is not None:
        beside.space = run.space
    if not Path(out).exists():
        with enough_memory_for(run.config, "evaluate"):
            found = trained(
                replace(run, progress=progress), test, beside, Protocol.model_validate(protocol),
                network, seeds, together,
            )  # fmt: skip
        write_json(Path(out), asdict(found))


@lru_cache(maxsize=1)  # many seeds of one set: the data are loaded once
def _comparison(config: str, folder: str, artifact: str) -> tuple[Run, Resident]:
    """Return the run of a set, and its test split."""
    values = RunConfig.model_validate(json.loads(config))
    return opened(load(artifact), values, Path(folder), Silent())


def measure_cell(
    progress: Progress, *, bench: dict[str, Any], folder: str, attempt: str, cell: str
) -> None:
    """Do the cell of this key of a bench, once no other process is at it."""
    Harness(BenchConfig.model_validate(bench), Path(folder), progress, attempt).do_one(cell)


def _settle(run: Run) -> None:
    """Compute as a run says that was prepared some units ago: those between may be of another."""
    settle(run.device, run.config.precision, run.config.threads)


def _run(config: dict[str, Any], folder: str, progress: Progress | None = None) -> Run:
    return pipeline.prepare(RunConfig.model_validate(config), Path(folder), progress)

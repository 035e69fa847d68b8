"""What other processes do of a run: each function finds one unit again and does it.

They give what the same unit gives in the driver, and refuse to work on what differs from there.
"""

import json
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ddkit.config import RunConfig, StageName
from ddkit.data.access import sealed_test
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import load
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.units import enough_memory_to_evaluate, trained
from ddkit.pipeline import distill
from ddkit.pipeline.evaluate import opened
from ddkit.pipeline.prepare import check_inputs, prepare
from ddkit.pipeline.shortage import enough_memory_for
from ddkit.pipeline.stages import Stage, Stages
from ddkit.pools import training
from ddkit.run import Run
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import write_json
from ddkit.runtime.process import settle
from ddkit.runtime.progress import Progress, Silent
from ddkit.synthesis.engine import Engine


def train_group(
    progress: Progress,
    *,
    config: dict[str, Any],
    folder: str,
    stage: StageName,
    pool: str,
    tasks: list[str],
) -> None:
    """Train those tasks of a stage's pool, in the folder `pool`, that are trained at once.

    Raises `DdkitError` where this machine would train another pool than the driver asks for.
    """
    with sealed_test():
        run = _run(config, folder, progress)
        plan = Stage(run, stage).plan
        if plan.folder.absolute() != Path(pool):
            raise DdkitError(
                f"this machine would train the pool {plan.folder.name}, not {Path(pool).name}: "
                "ddkit, its plugins, the data and files of networks must be the same everywhere"
            )
        named = {task.name: task for task in plan.tasks}
        group = [named[name] for name in tasks]
        with enough_memory_for(run.config, "pool"):
            training.train_group(group, plan.folder, plan.description, run.device)


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
            if not engine.file(chosen).exists():
                engine.optimise(chosen, task)


@lru_cache(maxsize=1)  # many shards of one run: the data are loaded once
def _engine(config: str, folder: str, snapshot_every: int, inputs: str) -> Engine:
    """Return the engine of a run that began with these inputs; its pool is finished."""
    stages = Stages(_run(json.loads(config), folder))
    check_inputs(stages.run)
    return distill.engine_of(stages, stages["synthesis"].pool(), snapshot_every)


def evaluate_seeds(
    progress: Progress,
    *,
    config: dict[str, Any],
    folder: str,
    artifact: str,
    dataset: str | None,
    protocol: dict[str, Any],
    network: str,
    together: bool,
    seeds: list[int],
    out: str,
) -> None:
    """Train a network for each seed on a set, or on all real data, and write what they reach."""
    run, test = _comparison(json.dumps(config), folder, artifact)
    _settle(run)
    beside = load(dataset) if dataset else None
    if beside is not None:
        beside.space = run.space
    if not Path(out).exists():
        with enough_memory_to_evaluate(run):
            found = trained(
                replace(run, progress=progress),
                test,
                beside,
                Protocol.model_validate(protocol),
                network,
                seeds,
                together,
            )
        write_json(Path(out), asdict(found))


@lru_cache(maxsize=1)  # many seeds of one set: the data are loaded once
def _comparison(config: str, folder: str, artifact: str) -> tuple[Run, Resident]:
    """Return the run of a set, and its test split."""
    values = RunConfig.model_validate(json.loads(config))
    return opened(load(artifact), values, Path(folder), Silent())


def _settle(run: Run) -> None:
    """Compute as a run says that was prepared some units ago: those between may be of another."""
    settle(run.device, run.config.precision, run.config.threads)


def _run(config: dict[str, Any], folder: str, progress: Progress | None = None) -> Run:
    return prepare(RunConfig.model_validate(config), Path(folder), progress)

"""The pool that a stage works with: named, in the cache, or trained now."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddkit import networks
from ddkit.config import StageConfig, StageName
from ddkit.methods.plugin import METHODS, Plugin
from ddkit.pipeline.shortage import enough_memory_for
from ddkit.pools import named as named_pool
from ddkit.pools.pool import MemberTask, Pool
from ddkit.pools.training import train_pool
from ddkit.run import Run
from ddkit.runtime.cost import Cost
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor, Job
from ddkit.runtime.files import (
    by_content,
    cache_folder,
    locked,
    remove_temporaries,
    stable_hash,
)
from ddkit.runtime.registry import origin

POOL_VERSION = 2  # goes up when the core trains or stores pools differently


def open_pool(run: Run, stage: StageName, executor: Executor = LOCAL) -> Pool:
    """Return the pool that a stage works with, trained first where the cache lacks it."""
    pool = finished_pool(run, stage)
    if pool is not None:
        return pool
    tasks, folder, description = pool_plan(run, stage)
    with locked(folder, "the pool", wait=True):
        if not (folder / "pool.json").exists():
            remove_temporaries(folder)
            function = "ddkit.pipeline.work:train_group"
            job = Job.of(run, "pool", function, stage=stage, pool=str(folder.absolute()))
            with Cost(folder).measure("training"), enough_memory_for(run.config, "pool"):
                train_pool(
                    tasks, folder, description, run.space, run.device, job, executor, run.progress
                )
    return Pool.open(folder, run.device)


def finished_pool(run: Run, stage: StageName) -> Pool | None:
    """Return the pool that a stage works with, or None where it must be trained first.

    The pool that the run names serves every stage, and nothing is trained.
    """
    if run.config.pool is not None:
        return Pool.open(named_pool.folder_of(run.config.pool), run.device)
    tasks, folder, _ = pool_plan(run, stage)
    if not tasks:
        return Pool(folder, run.device)
    return Pool.open(folder, run.device) if (folder / "pool.json").exists() else None


def pool_plan(run: Run, stage: StageName) -> tuple[Sequence[MemberTask], Path, dict[str, Any]]:
    """Return the tasks that train a stage's pool, its folder in the cache, its description.

    The pool's hook gets a run whose seed is the pool's, so that distillation seeds can share one.
    """
    source = run.config.pool_stage(stage)
    config = run.config.model_copy(update={"seed": run.config.pool_seed})
    pool_run = replace(run.for_stage(stage, pool=True), config=config)
    tasks = Plugin(source.plugin).build_pool(pool_run)
    description = pool_description(pool_run, source)
    folder = cache_folder("pools") / f"{source.plugin}-{stable_hash(description)}"
    return tasks, folder, description


def pool_description(run: Run, source: StageConfig) -> dict[str, Any]:
    """Return all that determines a pool: equal descriptions, one pool in the cache."""
    model = Plugin(source.plugin).options_model()
    relevant = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        stages = extra.get("stages", ["pool"]) if isinstance(extra, dict) else ["pool"]
        if isinstance(stages, list) and "pool" in stages:
            relevant[name] = by_content(source.options.get(name))
    return {
        "version": POOL_VERSION,
        "plugin": source.plugin,
        "from": origin(METHODS.entries()[source.plugin]),
        "options": relevant,
        "network": run.config.network,
        "network_fingerprint": networks.spec_fingerprint(run.config.network),
        "data": run.train.fingerprint,
        "mirror": run.train.mirror,
        "data_name": run.config.data.tag,
        "classes": len(run.classes),
        "shape": list(run.shape),
        "space": run.space.fingerprint(),
        "seed": run.config.seed,
        "device": run.device.type,
        "precision": run.config.precision,
        "compile": run.config.compile,
        "threads": run.config.threads,
    }


def check_roles(run: Run, stage: StageName) -> None:
    """Raise `DdkitError` where a finished pool has no member that a stage could work with."""
    pool = finished_pool(run, stage)
    plugin = run.config.stage(stage).plugin
    needed = Plugin(plugin).options_model().needs.get(stage, ())
    if pool is not None and len(pool) and needed and not pool.with_role(*needed):
        raise DdkitError(
            f"the {stage} of '{plugin}' needs members of the role {' or '.join(needed)}, and the "
            f"pool {pool.folder.name} has {' and '.join(sorted({m.role for m in pool.members}))}: "
            "name another pool, or leave it out"
        )

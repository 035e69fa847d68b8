"""The flow, one direction: configuration → run → pool → synthesis → relabel → artifact."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ddkit import named_pool, networks
from ddkit.config import MethodOptions, RunConfig, StageConfig, StageName, load_config
from ddkit.cost import Cost, read_cost
from ddkit.data import selection, sources
from ddkit.data.space import InputSpace
from ddkit.distilled import ARTIFACT, stored, write_distilled
from ddkit.errors import DdkitError
from ddkit.labelling import forget_saved
from ddkit.objective import Shard, Synthetic
from ddkit.plugins import METHODS, Plugin
from ddkit.pool import MemberTask, Pool
from ddkit.pool_training import train_pool
from ddkit.progress import Progress, Silent
from ddkit.registry import origin
from ddkit.run import Run, find_device
from ddkit.storage import (
    TensorFile,
    cache_folder,
    locked,
    read_json,
    remove_temporaries,
    stable_hash,
    write_json,
)
from ddkit.synthesis import Engine

POOL_VERSION = 1  # goes up when the core trains or stores pools differently


def prepare(config: RunConfig, folder: Path, progress: Progress | None = None) -> Run:
    """Load the training data and return the run; sets torch's thread count for this process.

    Raises `DdkitError` for what is wrong with the data, and for a named pool that does not fit.
    """
    torch.set_num_threads(config.threads)
    device = device_of(config)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True  # the same run, the same bytes
        torch.backends.cudnn.benchmark = False
    # the pool's seed: distillation seeds that share a pool share its data
    train = sources.load(config.data, "train", seed=config.pool_seed)
    train, holdout = selection.split_holdout(train, config.data.holdout, config.pool_seed)
    if config.pool is None:
        space = InputSpace.fit(train, config.data.space)
    else:  # its members know no other mean and std than those that they were trained with
        space = named_pool.open_for(config.pool, config, train).space()
    options = MethodOptions()
    return Run(
        config, options, train, holdout, space.to(device), device, folder, progress or Silent()
    )


def device_of(config: RunConfig) -> torch.device:
    """Return the run's device; raises `DdkitError` where there is no such device here."""
    return find_device(config.device)


def distill(
    config: RunConfig,
    folder: Path,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
    snapshot_every: int = 0,
    wait: bool = False,
) -> Path:
    """Do a whole run in `folder`, or what is left of it, and return the artifact's path.

    With `wait` another process in the same folder is waited for, not refused.

    Raises:
        DdkitError: the folder holds another run, or anything in the run fails in a known way.
        Stopped: on request, after what is needed to go on was written.
    """
    artifact = folder / ARTIFACT
    device_of(config)
    # wrong data or too large an ipc are found before a folder is made for them
    run = None if (folder / "config.toml").exists() else begun(config, folder, progress)
    with locked(folder, "the run", wait=wait):
        remove_temporaries(folder)
        claim(folder, config, overwrite)
        if artifact.exists():
            return artifact
        run = run or begun(config, folder, progress)
        check_inputs(run)
        cost = Cost(folder)
        with cost.measure("pool"):
            pool = open_pool(run, "synthesis")
            folders = {pool.folder, open_pool(run, "relabel").folder}
        figures = [read_cost(folder) for folder in folders]
        if config.pool is None or "training_seconds" in figures[0]:  # unknown where it is imported
            cost.figures["pool_training_seconds"] = sum(
                figure.get("training_seconds", 0.0) for figure in figures
            )
        plugin = Plugin(config.stage("synthesis").plugin)
        objective = plugin.synthesis_loss(run.for_stage("synthesis"), pool)
        engine = Engine(run, objective, snapshot_every=snapshot_every)
        with cost.measure("synthesis"):
            engine.synthesise()
        shards = list(objective.shards())
        images = assemble(engine, shards, config.store)
        with cost.measure("relabel"):
            relabel_into(run, images, artifact)
        cost.finish(engine, shards)
    return artifact


def begun(config: RunConfig, folder: Path, progress: Progress | None) -> Run:
    """Return the run with its data loaded, once its pool fits and its images can start."""
    run = prepare(config, folder, progress)
    run.check_initial()
    check_stages(run)
    return run


def check_stages(run: Run) -> None:
    """Make what can be made before work begins, so that what does not fit is found by then."""
    run.for_stage("synthesis").options.check(run)
    stages: tuple[StageName, ...] = ("synthesis", "relabel")
    for stage in stages:
        check_roles(run, stage)
    pool = finished_pool(run, "synthesis")
    if pool is not None:
        Plugin(run.config.stage("synthesis").plugin).synthesis_loss(
            run.for_stage("synthesis"), pool
        )


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


def relabel_into(run: Run, images: Synthetic, path: Path) -> None:
    """Label finished images as the run's relabel stage does, and write the artifact."""
    pool = open_pool(run, "relabel")
    stage = run.for_stage("relabel")
    labels = Plugin(run.config.stage("relabel").plugin).relabel(stage, pool, images)
    write_distilled(path, images, labels, run.space, describe(run))
    forget_saved(stage, images)


def describe(run: Run) -> dict[str, Any]:
    """Return what an artifact says about its run."""
    return {
        "classes": list(run.classes),
        "mirror": run.train.mirror,
        "protocol": run.config.protocol,
        "config": run.config.model_dump(mode="json"),
        "data_fingerprint": run.train.fingerprint,
        "network": run.config.network,
    }


def claim(folder: Path, config: RunConfig, overwrite: bool) -> None:
    """Make `folder` this run's; raises `DdkitError` where it holds another one, or other files."""
    path = folder / "config.toml"
    if path.exists():
        if overwrite:
            clear(folder)
        elif load_config(path) == config:
            return
        else:
            raise DdkitError(
                f"{folder} holds another run (its config.toml differs): choose another --out, "
                "or --overwrite to throw that run away"
            )
    elif [entry for entry in folder.iterdir() if entry.name != ".lock"]:
        raise DdkitError(f"{folder} holds files that are no run of ddkit: choose another --out")
    config.save(path)


def check_inputs(run: Run) -> None:
    """Note what a run began with; raises `DdkitError` where it would go on with something else."""
    path = run.folder / "inputs.json"
    config = run.config
    options = [config.stage(name).options for name in ("pool", "synthesis", "relabel")]
    present = {
        "data": run.train.fingerprint,
        "network": networks.spec_fingerprint(config.network),
        "files": stable_hash([_by_content(config.init), *map(_by_content, options)]),
    }
    if config.pool is not None:
        present["pool"] = named_pool.fingerprint(config.pool)
    if not path.exists():
        write_json(path, present)
        return
    changed = [name for name, value in read_json(path).items() if present.get(name) != value]
    if changed:
        raise DdkitError(
            f"the {changed[0]} of the run in {run.folder} changed since it began: choose another "
            "--out, or --overwrite to throw that run away"
        )


def clear(folder: Path) -> None:
    """Remove what a run wrote, and nothing else."""
    for name in ("shards", "snapshots"):
        shutil.rmtree(folder / name, ignore_errors=True)
    names = ("cost.json", "inputs.json", "settled.json", "config.toml", "contact-sheet.png")
    for path in [*folder.glob("distilled*.safetensors"), *(folder / name for name in names)]:
        path.unlink(missing_ok=True)


def open_pool(run: Run, stage: StageName) -> Pool:
    """Return the pool that a stage works with, trained first where the cache lacks it."""
    pool = finished_pool(run, stage)
    if pool is not None:
        return pool
    tasks, folder, description = pool_plan(run, stage)
    with locked(folder, "the pool", wait=True):
        if not (folder / "pool.json").exists():
            remove_temporaries(folder)
            with Cost(folder).measure("training"):
                train_pool(tasks, folder, description, run.space, run.device)
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
            relevant[name] = _by_content(source.options.get(name))
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
        "threads": run.config.threads,
    }


def assemble(engine: Engine, shards: list[Shard], store: str) -> Synthetic:
    """Return the finished shards as one class-major set, in the form in which it is stored."""
    files = [TensorFile(engine.final(shard)) for shard in shards]
    slots = torch.cat([file["slots"] for file in files])
    order = slots.argsort()
    images = stored(torch.cat([file["images"] for file in files]), store)[order]
    classes = torch.cat([file["classes"] for file in files])[order]
    rates = [float(file["learning_rate"]) for file in files if "learning_rate" in file]
    logits = [file["label_logits"] for file in files if "label_logits" in file]
    return Synthetic(
        images,
        classes,
        sum(rates) / len(rates) if rates else None,
        torch.cat(logits)[order] if len(logits) == len(files) else None,
    )


def baseline_config(config: RunConfig) -> RunConfig:
    """Return the run that makes random real images with the same labelling, pool and seed."""
    return config.model_copy(
        update={
            "method": "random",
            "plugin": "random",
            "options": {},
            "init": "real",
            "preset": None,
            "groups": 1,
            "memory_budget": None,
            "relabel_from": config.stage("relabel"),
            "evaluate_from": None,
        }
    )


def _by_content(value: Any) -> Any:
    """A file's path says nothing about what is in it: what was named counts by its content."""
    if isinstance(value, dict):
        return {key: _by_content(item) for key, item in value.items()}
    if isinstance(value, str) and ("." in value or "/" in value) and Path(value).is_file():
        with Path(value).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return value

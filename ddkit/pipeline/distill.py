"""The flow, one direction: configuration → run → pool → synthesis → relabel → artifact."""

import shutil
from pathlib import Path
from typing import Any

import torch

from ddkit import networks
from ddkit.config import MethodOptions, RunConfig, StageName, load_config
from ddkit.data.access import sealed_test
from ddkit.data.sources import load as sources
from ddkit.data.sources import selection
from ddkit.data.space import InputSpace
from ddkit.distilled.dataset import ARTIFACT, stored, write_distilled
from ddkit.labels.converting import check_form, with_epochs
from ddkit.labels.making import forget_saved, labelled
from ddkit.methods.plugin import Plugin
from ddkit.pipeline.shortage import enough_memory_for
from ddkit.pipeline.stages import check_roles, finished_pool, open_pool
from ddkit.pools import named as named_pool
from ddkit.pools.pool import Pool
from ddkit.run import Run, find_device
from ddkit.runtime.cost import Cost, read_cost
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor
from ddkit.runtime.files import (
    TensorFile,
    by_content,
    locked,
    read_json,
    remove_temporaries,
    stable_hash,
    write_json,
)
from ddkit.runtime.loggers import Logger, session
from ddkit.runtime.process import settle
from ddkit.runtime.progress import Progress, Silent
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.journal import Journal
from ddkit.synthesis.objective import Shard, Synthetic


def prepare(config: RunConfig, folder: Path, progress: Progress | None = None) -> Run:
    """Load the training data and return the run; from now on this process computes as it says.

    Raises `DdkitError` for what is wrong with the data, and for a named pool that does not fit.
    """
    device = device_of(config)
    settle(device, config.precision, config.threads)
    # the pool's seed: distillation seeds that share a pool share its data
    train = sources.load(config.data, "train", seed=config.pool_seed, progress=progress)
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
    executor: Executor = LOCAL,
    logger: Logger | None = None,
) -> Path:
    """Do a whole run in `folder`, or what is left of it, and return the artifact's path.

    With `wait` another process in the same folder is waited for, not refused. The executor does
    the pool and the shards; whichever it is, the bytes are the same. So they are with a logger.

    Raises:
        DdkitError: the folder holds another run, or anything in the run fails in a known way.
        Stopped: on request, after what is needed to go on was written.
    """
    with sealed_test():
        return _distill(config, folder, progress, overwrite, snapshot_every, wait, executor, logger)


def _distill(
    config: RunConfig, folder: Path, progress: Progress | None, overwrite: bool,
    snapshot_every: int, wait: bool, executor: Executor, logger: Logger | None,
) -> Path:  # fmt: skip
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
        with session(logger, folder, "distill", config.model_dump(mode="json")):
            do_stages(run, artifact, snapshot_every, executor, logger)
    return artifact


def do_stages(
    run: Run, artifact: Path, snapshot_every: int, executor: Executor, logger: Logger | None
) -> None:
    """Do what is left of a run's stages, and write its artifact."""
    cost = Cost(run.folder)
    with cost.measure("pool"):
        pool = open_pool(run, "synthesis", executor)
        folders = {pool.folder, open_pool(run, "relabel", executor).folder}
    figures = [read_cost(folder) for folder in folders]
    if run.config.pool is None or "training_seconds" in figures[0]:  # unknown where it is imported
        cost.figures["pool_training_seconds"] = sum(
            figure.get("training_seconds", 0.0) for figure in figures
        )
    with cost.measure("synthesis"), enough_memory_for(run.config, "synthesis"):
        engine = engine_of(run, pool, snapshot_every, logger)
        engine.synthesise(executor)
    shards = list(engine.objective.shards())
    images = assemble(engine, shards, run.config.store)
    with cost.measure("relabel"):
        relabel_into(run, images, artifact)
    cost.finish(engine, shards)


def engine_of(
    run: Run, pool: Pool, snapshot_every: int = 0, logger: Logger | None = None
) -> Engine:
    """Return the engine of a run's synthesis."""
    plugin = Plugin(run.config.stage("synthesis").plugin)
    objective = plugin.synthesis_loss(run.for_stage("synthesis"), pool)
    return Engine(run, objective, snapshot_every=snapshot_every, journal=Journal(logger))


def begun(config: RunConfig, folder: Path, progress: Progress | None) -> Run:
    """Return the run with its data loaded, once its pool fits and its images can start."""
    run = prepare(config, folder, progress)
    run.check_initial()
    check_stages(run)
    return run


def check_stages(run: Run) -> None:
    """Make what can be made before work begins, so that what does not fit is found by then."""
    check_form(run.config.labels_as, len(run.classes))
    synthesis = run.for_stage("synthesis")
    synthesis.options.check(synthesis)
    stages: tuple[StageName, ...] = ("synthesis", "relabel")
    for stage in stages:
        check_roles(run, stage)
    pool = finished_pool(run, "synthesis")
    if pool is not None:
        Plugin(run.config.stage("synthesis").plugin).synthesis_loss(synthesis, pool)


def relabel_into(run: Run, images: Synthetic, path: Path, epochs: int | None = None) -> None:
    """Label finished images as the run's relabel stage does, and write the artifact.

    Of labels for each epoch those of the first `epochs` are kept; None keeps all.
    """
    stage = run.for_stage("relabel")
    with sealed_test(), enough_memory_for(run.config, "relabel"):
        pool = open_pool(run, "relabel")
        labels = labelled(stage, pool, images)
    if epochs is not None:
        labels = with_epochs(labels, epochs)
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
        "files": stable_hash([by_content(config.init), *map(by_content, options)]),
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
    for name in ("shards", "snapshots", "logs", ".settled"):
        shutil.rmtree(folder / name, ignore_errors=True)
    names = ("cost.json", "inputs.json", "settled.json", "config.toml", "contact-sheet.png")
    for path in [*folder.glob("distilled*.safetensors"), *(folder / name for name in names)]:
        path.unlink(missing_ok=True)


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

"""The flow, one direction: configuration → run → pool → synthesis → relabel → artifact."""

from pathlib import Path

from ddkit.config import RunConfig
from ddkit.data.access import sealed_test
from ddkit.distilled.dataset import ARTIFACT
from ddkit.distilled.writing import write_distilled
from ddkit.labels.converting import with_epochs
from ddkit.labels.making import forget_saved
from ddkit.pipeline.prepare import begun, check_inputs, claim, describe, device_of
from ddkit.pipeline.shortage import enough_memory_for
from ddkit.pipeline.stages import Stage, Stages
from ddkit.pools.pool import Pool
from ddkit.runtime.cost import Cost, read_cost
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor
from ddkit.runtime.files import locked, remove_temporaries
from ddkit.runtime.loggers import Logger, session
from ddkit.runtime.progress import Progress
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.journal import Journal
from ddkit.synthesis.shard_file import assembled


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
    config: RunConfig,
    folder: Path,
    progress: Progress | None,
    overwrite: bool,
    snapshot_every: int,
    wait: bool,
    executor: Executor,
    logger: Logger | None,
) -> Path:
    artifact = folder / ARTIFACT
    device_of(config)
    # wrong data or too large an ipc are found before a folder is made for them
    stages = None if (folder / "config.toml").exists() else begun(config, folder, progress)
    with locked(folder, "the run", wait=wait):
        remove_temporaries(folder)
        claim(folder, config, overwrite)
        if artifact.exists():
            return artifact
        stages = stages or begun(config, folder, progress)
        check_inputs(stages.run)
        with session(logger, folder, "distill", config.model_dump(mode="json")):
            do_stages(stages, artifact, snapshot_every, executor, logger)
        remove_temporaries(folder)  # of workers that died
    return artifact


def do_stages(
    stages: Stages, artifact: Path, snapshot_every: int, executor: Executor, logger: Logger | None
) -> None:
    """Do what is left of a run's stages, and write its artifact."""
    run = stages.run
    cost = Cost(run.folder)
    with cost.measure("pool"):
        pool = stages["synthesis"].pool(executor)
        folders = {pool.folder, stages["relabel"].pool(executor).folder}
    figures = [read_cost(folder) for folder in folders]
    if run.config.pool is None or "training_seconds" in figures[0]:  # unknown where it is imported
        cost.figures["pool_training_seconds"] = sum(
            figure.get("training_seconds", 0.0) for figure in figures
        )
    with cost.measure("synthesis"), enough_memory_for(run.config, "synthesis"):
        engine = engine_of(stages, pool, snapshot_every, logger)
        engine.synthesise(executor)
    files = [engine.file(shard) for shard in engine.objective.shards()]
    images = assembled(files, run.config.store, run.config.factor)
    with cost.measure("relabel"):
        relabel_into(stages["relabel"], images, artifact)
    cost.finish(max(file.peak_bytes for file in files), run.device)


def engine_of(
    stages: Stages, pool: Pool, snapshot_every: int = 0, logger: Logger | None = None
) -> Engine:
    """Return the engine of a run's synthesis."""
    objective = stages["synthesis"].objective(pool)
    return Engine(stages.run, objective, snapshot_every=snapshot_every, journal=Journal(logger))


def relabel_into(stage: Stage, images: Synthetic, path: Path, epochs: int | None = None) -> None:
    """Label finished images as a relabel stage does, and write the artifact.

    Of labels for each epoch those of the first `epochs` are kept; None keeps all.
    """
    run, decoded = stage.whole, images.decoded()
    with sealed_test(), enough_memory_for(run.config, "relabel"):
        labels = stage.labels(stage.pool(), decoded)
    if epochs is not None:
        labels = with_epochs(labels, epochs)
    write_distilled(path, images, labels, run.space, describe(run))
    forget_saved(stage.run, decoded)

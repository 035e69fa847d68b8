"""`ddkit distill` and `ddkit evaluate` as functions, with the words of their flags.

The command line calls these functions too, so that a script does what a command does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ddkit.data.sources.registered import check_shared
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import evaluate as comparison
from ddkit.pipeline.flags import configured, default_folder
from ddkit.pipeline.rows import Rows
from ddkit.runtime import loggers
from ddkit.runtime.bars import reporter
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution import Executor, executing
from ddkit.runtime.interrupt import interruptible
from ddkit.runtime.process import unchanged
from ddkit.runtime.progress import Progress


def distill(
    method: str | None = None,
    data: str | None = None,
    ipc: int | None = None,
    *,
    network: str | None = None,
    seed: int | None = None,
    pool_seed: int | None = None,
    init: str | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | Sequence[str] | None = None,
    pool: str | None = None,
    pool_from: str | None = None,
    relabel_from: str | None = None,
    evaluate_from: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    classes: str | int | Sequence[str] | None = None,
    resize: int | None = None,
    detail: int | None = None,
    holdout: float | None = None,
    imbalance: str | float | tuple[float, float] | None = None,
    flip: bool | None = None,
    space: Literal["standard", "zca", "unit"] | None = None,
    background: str | None = None,
    bit_depth: int | None = None,
    store: Literal["auto", "uint8", "float16", "float32"] | None = None,
    labels_as: str | None = None,
    label_views: Literal["auto", "seed", "stored"] | None = None,
    groups: int | None = None,
    memory_budget: str | int | None = None,
    device: str | None = None,
    precision: Literal["auto", "fp32", "tf32", "bf16"] | None = None,
    compile: Literal["auto", "on", "off"] | None = None,
    threads: int | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    snapshot_every: int = 0,
    log: str | loggers.Logger | None = None,
    executor: Literal["local", "ray"] = "local",
    address: str | None = None,
    progress: bool | Progress = False,
) -> DistilledDataset:
    """Distil a data set into a few synthetic images per class, and return them.

    The set's `file.path` says where it lies. Called again with the same words, a run that was
    stopped or killed goes on where it was, and a finished one is opened.

    The words are the flags of `ddkit distill --help`, None where they are not said: a preset or a
    default then decides. Some are more than a flag:

    Args:
        data: also a name that `ddkit.register_data` gave.
        settings: options of the method, as in {"iterations": 100}; {"relabel.label_epochs": 30} is
            for one stage. Texts as for --set will do as well.
        log: "tensorboard", "wandb", a logger of a plugin, several with commas, or an object of
            one's own that does what `ddkit.loggers.Logger` says.
        progress: True for bars in the terminal or notebook, or an object that takes reports.

    Raises:
        DdkitError: anything that was said does not fit, or the run fails in a known way.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when what is done is on disk; at the second one
            at once.
    """
    resolved = configured(locals())
    folder = Path(out) if out is not None else default_folder(resolved)
    check_shared(resolved.data.name, executor)
    logger, reports = loggers.chosen(log), reporter(progress)
    if resolved.preset:
        reports.note(f"preset {resolved.preset}")
    with _working(executor, address) as where:
        artifact = pipeline.distill(
            resolved,
            folder,
            reports,
            overwrite=overwrite,
            snapshot_every=snapshot_every,
            executor=where,
            logger=logger,
        )
    return load(artifact)


def evaluate(
    artifact: str | Path | DistilledDataset,
    *,
    protocols: str | Sequence[str] | None = None,
    networks: str | Sequence[str] | None = None,
    seeds: int = 5,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    data: str | None = None,
    random: bool = True,
    real: bool = True,
    tune_lr: bool = False,
    own: bool = False,
    device: str | None = None,
    precision: Literal["fp32", "tf32"] | None = None,
    log: str | loggers.Logger | None = None,
    executor: Literal["local", "ray"] = "local",
    address: str | None = None,
    progress: bool | Progress = False,
) -> Rows:
    """Train networks on a distilled set and test them, beside random real images and all real data.

    The words are the flags of `ddkit evaluate --help`. Networks that were trained are kept: the
    same call goes on where it was stopped.

    Args:
        artifact: a set, its file, or the folder of its run.
        protocols, networks: names, or one text of them with commas.
        log, progress: as for `distill`.

    Returns:
        The rows, which show themselves as a table.

    Raises:
        DdkitError, KeyboardInterrupt: as `distill` does.
    """
    if seeds < 1:
        raise DdkitError(f"--seeds must be 1 or more (got {seeds})")
    distilled = artifact if isinstance(artifact, DistilledDataset) else load(artifact)
    path = distilled.file.path
    check_shared(data or distilled.config["data"]["name"], executor)
    logger = loggers.chosen(log)
    with (
        _working(executor, address) as where,
        loggers.session(logger, path.parent, "evaluate", distilled.config),
    ):
        rows = comparison.compare(
            path,
            protocols=_names(protocols),
            networks=_names(networks),
            seeds=range(seeds),
            recipe={"epochs": epochs, "batch_size": batch_size, "lr": lr},
            data=data,
            device=device,
            precision=precision,
            random=random,
            real=real,
            tune_lr=tune_lr,
            own=own,
            executor=where,
            progress=reporter(progress),
        )
        found = Rows(str(path), rows)
        if logger is not None:
            found.tell(logger)
    return found


@contextmanager
def _working(executor: str, address: str | None) -> Iterator[Executor]:
    """Give the executor; signals and torch's settings are the caller's own again afterwards."""
    with unchanged(), executing(executor, address) as where, interruptible():
        yield where


def _names(said: str | Sequence[str] | None) -> Sequence[str] | None:
    return said.split(",") if isinstance(said, str) else said

"""Before a run begins: its data, its folder, and whatever can be found wrong by then."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddkit import networks
from ddkit.config import RunConfig, StageName, load_config
from ddkit.data.classes import matched, reordered
from ddkit.data.sources import load as sources
from ddkit.data.sources import selection
from ddkit.data.space import InputSpace
from ddkit.data.split import Split, check_classes
from ddkit.distilled.dataset import load
from ddkit.labels.converting import check_form
from ddkit.methods.options import MethodOptions
from ddkit.pipeline.stages import Stages
from ddkit.pools import named
from ddkit.run import Run
from ddkit.runtime.cache import by_content, stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import read_json, write_json
from ddkit.runtime.machine import find_device
from ddkit.runtime.process import settle
from ddkit.runtime.progress import Progress, Silent
from ddkit.synthesis.initial import check_initial


def prepare(config: RunConfig, folder: Path, progress: Progress | None = None) -> Run:
    """Load the training data and return the run; from now on this process computes as it says.

    Raises `DdkitError` for what is wrong with the data, and for a named pool that does not fit.
    """
    device = device_of(config)
    settle(device, config.precision, config.threads)
    # the pool's seed: distillation seeds that share a pool share its data
    train = sources.load(config.data, "train", seed=config.pool_seed, progress=progress)
    check_classes(len(train.classes), f"'{config.data.name}'")
    train, holdout = selection.split_holdout(train, config.data.holdout, config.pool_seed)
    if config.pool is None:
        space = InputSpace.fit(train, config.data.space)
    else:  # its members know no other mean and std than those that they were trained with
        space = named.space_for(config.pool, config, train)
    return Run(
        config,
        MethodOptions(),
        train,
        holdout,
        space.to(device),
        device,
        folder,
        progress or Silent(),
        start=start_of(config, train, progress or Silent()),
    )


def device_of(config: RunConfig) -> torch.device:
    """Return the run's device; raises `DdkitError` where there is no such device here."""
    return find_device(config.device)


def begun(config: RunConfig, folder: Path, progress: Progress | None) -> Stages:
    """Return the stages of a run with its data loaded, once what can be found wrong is not."""
    run = prepare(config, folder, progress)
    stages = Stages(run)
    check_initial(run)
    check_settings(stages)
    check_pools(stages)
    return stages


def check_settings(stages: Stages) -> None:
    """Raise `DdkitError` where settings do not fit data of this size, whatever its images are."""
    run, synthesis = stages.run, stages["synthesis"]
    check_formation(run)
    check_form(run.config.labels_as, len(run.classes))
    synthesis.plugin.check(synthesis.run)


def check_formation(run: Run) -> None:
    """Raise `DdkitError` where images of this run cannot hold several training images."""
    factor = run.config.factor
    if factor > 1 and run.space.zca is not None:
        raise DdkitError(
            f"--factor {factor}: parts of whitened images are no images: use --space standard, or "
            "--factor 1"
        )
    if factor > min(run.shape[1:]):
        raise DdkitError(
            f"--factor {factor}: images of {run.shape[2]}x{run.shape[1]} pixels cannot be cut into "
            "so many parts along a side"
        )


def check_pools(stages: Stages) -> None:
    """Raise `DdkitError` where the pools will not have, or do not have, what stages need."""
    run, synthesis = stages.run, stages["synthesis"]
    names: tuple[StageName, ...] = ("synthesis", "relabel")
    for name in names:
        stages[name].check_roles()
    pool = synthesis.finished_pool()
    if pool is not None:
        if run.config.pool is not None and not run.config.trust_base:
            named.check_imported(run.config.pool, pool, run.train, run.space)
        synthesis.objective(pool)


def start_of(
    config: RunConfig, train: Split, progress: Progress | None = None
) -> Callable[[Tensor], Tensor] | None:
    """Return slots → pixels of the artifact that `--init` names; None where it names none.

    Its classes may stand in another order: those of the same name belong together, which is said.
    Raises `DdkitError` where its images are of another number or shape, or of other classes.
    """
    if config.init in ("real", "noise"):
        return None
    whole = load(config.init)
    if whole.factor != config.factor:
        raise DdkitError(
            f"--init {config.init} has images of factor {whole.factor}, but this run distils those "
            f"of factor {config.factor}: use --factor {whole.factor}"
        )
    distilled = whole.stored
    total = len(train.classes) * config.ipc
    if (len(distilled), *distilled.shape) != (total, *train.shape):
        raise DdkitError(
            f"--init {config.init} holds {len(distilled)} images of {distilled.shape}, but this "
            f"run distils {total} of {train.shape}: use the same classes, ipc and size"
        )
    order = matched(train.classes, distilled.class_names)
    counts = distilled.classes.bincount(minlength=len(train.classes))
    if order is None or (counts != config.ipc).any():
        raise DdkitError(
            f"--init {config.init} holds other classes than this run distils, or not "
            f"{config.ipc} images of each: {_some(distilled.class_names)} instead of "
            f"{_some(train.classes)}; use a set of the same classes"
        )
    moved = reordered(train.classes, distilled.class_names)
    if moved and progress is not None:
        progress.note(f"--init {config.init}: classes are matched by name, because {moved} there")
    rows = torch.cat([(distilled.classes == label).nonzero()[:, 0] for label in order])
    return lambda slots: distilled.pixels(rows[slots])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


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
        raise DdkitError(f"{folder} holds files that are not a ddkit run: choose another --out")
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
        present["pool"] = named.fingerprint(config.pool)
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
    for name in ("shards", "snapshots", "logs", "patches", ".settled"):
        shutil.rmtree(folder / name, ignore_errors=True)
    names = ("cost.json", "inputs.json", "settled.json", "config.toml", "contact-sheet.png")
    for path in [*folder.glob("distilled*.safetensors"), *(folder / name for name in names)]:
        path.unlink(missing_ok=True)


def baseline_config(config: RunConfig) -> RunConfig:
    """Return the run that makes random real images with the same labelling, pool and seed."""
    repeated = "refuse" if config.short_classes == "refuse" else "repeat"  # noise would be unfair
    return config.model_copy(
        update={
            "method": "random",
            "short_classes": repeated,
            "minutes": None,
            "fitted": {},
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

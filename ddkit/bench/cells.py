"""The cells of a bench and their figures: which runs they are, and which baselines stand beside."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ddkit.bench.config import IMBALANCE, BenchConfig
from ddkit.config import RunConfig
from ddkit.data.options import DataOptions
from ddkit.methods.plugin import options_model
from ddkit.pipeline.prepare import baseline_config
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.cache import stable_hash

TUNING_HOLDOUT = 0.1
Role = Literal["set", "random", "selection"]
"""The distilled set, and what is trained under the identical recipe beside it."""


@dataclass(frozen=True)
class Cell:
    """One method on one data set at one ipc with one distillation seed."""

    method: str
    config: RunConfig
    asked: DataOptions  # the bench's own, without what the method's preset adds

    @property
    def data(self) -> str:
        return self.config.data.tag

    @property
    def ipc(self) -> int:
        return self.config.ipc

    @property
    def factor(self) -> int:
        return self.config.factor

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def title(self) -> str:
        return f"{self.method} · {self.data} · ipc {self.ipc} · seed {self.seed}"

    def about(self) -> dict[str, Any]:
        """Return what the store says of a cell, for tables."""
        return {"method": self.method, "data": self.data, "ipc": self.ipc, "seed": self.seed}


@dataclass(frozen=True)
class Figure:
    """One figure of a cell: what is trained on, which network, how."""

    cell: Cell
    role: Role
    network: str
    protocol: str
    recipe: str
    step: int = 0  # of a task that has several

    def about(self) -> dict[str, Any]:
        """Return what tables say of it; `settings` is the same for all seeds of a method."""
        config = self.cell.config
        return {
            **self.cell.about(),
            "run": run_key(config),
            "role": self.role,
            "recipe": self.recipe,
            "settings": run_key(config.model_copy(update={"seed": 0})),
            "network": self.network,
            "protocol": self.protocol,
        }


def cells(bench: BenchConfig, steps: Mapping[str, int] | None = None) -> list[Cell]:
    """Return all cells; the first seed of each comes before the second of any.

    Args:
        steps: per `pace_key`, how many steps a method gets, where the bench has a time budget.
    """
    return [
        make_cell(bench, name, data, ipc, seed, steps or {})
        for seed in range(bench.seeds)
        for data in bench.data
        for ipc in bench.ipc
        for name in bench.methods
    ]


def make_cell(
    bench: BenchConfig,
    name: str,
    data: DataOptions,
    ipc: int,
    seed: int,
    steps: Mapping[str, int],
    factor: int | None = None,
) -> Cell:
    """Return one cell. Distillation seeds share a pool, so that it is trained once.

    `factor` is that of its multi-formation, where the bench's own variant says none.
    """
    variant = bench.variant(name)
    common = {
        "ipc": ipc,
        "seed": seed,
        "pool_seed": 0,
        "network": variant.network or bench.network,
        "factor": variant.factor or factor,
        "device": bench.device,
        "precision": bench.precision,
        "compile": bench.compile,
        "threads": bench.threads,
    }
    said = data.model_dump(exclude_unset=True)
    if bench.task == "imbalanced":
        said.setdefault("imbalance", IMBALANCE)
    if bench.tune and not data.holdout:
        said["holdout"] = TUNING_HOLDOUT
    settings = list(variant.settings)
    count = steps.get(pace_key(name, data, ipc))
    config = resolve(Request(variant.method, common, said, settings, variant.preset))
    if count is not None:
        settings.append(f"{steps_option(config)}={count}")
        config = resolve(Request(variant.method, common, said, settings, variant.preset))
    return Cell(name, config, DataOptions(**said))


def pace_key(name: str, data: DataOptions, ipc: int) -> str:
    return f"{name} {stable_hash(data.model_dump(mode='json'))} {ipc}"


def steps_option(config: RunConfig) -> str | None:
    """Return the option that says how many steps a method takes; None where it takes none."""
    return options_model(config.plugin).steps_option


def companion(config: RunConfig, *, labelled: bool, init: str = "real") -> RunConfig:
    """Return the run of other images that stand beside a cell's: same seed, same input space.

    Args:
        labelled: with the labels that the cell's method gives, from the same pool; else with hard
            ones, and then it is the same run beside all methods.
        init: "real" for random real images, or the artifact whose images are taken.
    """
    beside = baseline_config(config).model_copy(update={"init": init})
    if labelled:
        return beside
    changes: dict[str, Any] = {
        "relabel_from": None,
        "pool": None,
        "pool_from": None,
        "network": "convnet",
        "protocol": {},
    }
    return beside.model_copy(update=changes)


def run_key(config: RunConfig) -> str:
    """Return a key of a run: equal configurations, equal key."""
    return stable_hash(config.model_dump(mode="json"))


def run_folder(folder: Path, config: RunConfig) -> Path:
    """Return where a run of the bench in `folder` lies."""
    name = f"{config.method}-{config.data.tag}-ipc{config.ipc}-seed{config.seed}"
    return folder / "runs" / f"{name}-{run_key(config)[:8]}"

"""What APM's choices are worth: python -m benchmarks.apm_ablations --data FASHION_MNIST

Accuracy over K, the number of teachers, E and α (the paper's Fig. 5 and appendix A.5), what the
released code does otherwise, and groups that are distilled apart; beside random real images with
the same labels under the identical recipe. Runs are kept under runs/benchmark.
"""

import os
from pathlib import Path

import click
import torch

from benchmarks.measuring import cell, evaluated
from benchmarks.plots import panels
from benchmarks.writing import write
from ddkit.config import RunConfig
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import baseline_config, prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.cost import read_cost
from ddkit.runtime.files import write_json

RUNS = Path("runs/benchmark/apm")
TEACHERS = 5
EPOCHS, LR, PROTOCOL, EVALUATIONS = 300, 0.1, "l1", 3
BASE = {
    "rounds": 20,
    "student_epochs": 100,
    "checkpoints": 5,
    "alpha": 0.1,
    "lr_images": 5.0,
    "lr_student": 0.1,
}
POOL = {"teachers": TEACHERS, "train_epochs": 10, "together": 1}
CURVES = {
    "checkpoints": ("K, checkpoints", (1, 2, 5, 10)),
    "teachers": ("teachers", (1, 2, 3, 5)),
    "student_epochs": ("E, epochs of a student", (25, 50, 100, 200)),
    "alpha": ("α", (0.0, 0.1, 1.0)),
}
DEPARTURES = {
    "mini-batches of 50, as the paper": {},
    "… no log in Eq. 4": {"log": False, "lr_images": 1.0},
    "… students used for three rounds": {"student_every": 3},
    "… dense momentum": {"dense_momentum": True},
    "… students see DSA": {"student_augmentation": "dsa"},
    "… the last three, as the released code": {
        "student_every": 3,
        "dense_momentum": True,
        "student_augmentation": "dsa",
    },
}


def run_config(
    data: str,
    seed: int,
    changes: dict[str, object],
    *,
    ipc: int = 10,
    groups: int = 1,
    pool: Path | None = None,
) -> RunConfig:
    common = {
        "ipc": ipc,
        "seed": seed,
        "pool_seed": 0,
        "threads": 1,
        "groups": groups,
        "network": "convnet:depth=2:width=24",
        "pool": str(pool.resolve()) if pool else None,
    }
    options = {**BASE, **POOL, **changes}
    settings = [f"{key}={str(value).lower()}" for key, value in options.items()]
    return resolve(Request("apm", common, {"name": data, "resize": 14}, settings, "none"))


def first_teachers(data: str, count: int) -> Path:
    """Return a pool of the first `count` teachers: those that a smaller pool would have."""
    run = prepare(run_config(data, 0, {}), RUNS)
    whole = stage_pools.open_pool(run, "synthesis")
    folder = RUNS / f"teachers-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    tasks = whole.description["tasks"][:count]
    for name in ("space", *tasks):
        link = folder / f"{name}.safetensors"
        if not link.exists():
            os.link(whole.folder / link.name, link)
    write_json(folder / "pool.json", {**whole.description, "tasks": tasks})
    return folder


class Study:
    """The figures of one data set, over distillation seeds."""

    def __init__(self, data: str, seeds: int):
        self.data, self.seeds = data, seeds
        self.pool = first_teachers(data, 3)

    def accuracies(
        self,
        changes: dict[str, object],
        *,
        random: bool = False,
        ipc: int = 10,
        groups: int = 1,
        evaluations: int = EVALUATIONS,
    ) -> list[float]:
        """Return the accuracy (%) of each distillation seed, of the set or of random images."""
        changes = dict(changes)
        count = changes.pop("teachers", None)
        pool = first_teachers(self.data, int(str(count))) if count else self.pool
        found = []
        for seed in range(self.seeds):
            config = run_config(self.data, seed, changes, ipc=ipc, groups=groups, pool=pool)
            config = baseline_config(config) if random else config
            value = evaluated(config, RUNS, evaluations, protocol=PROTOCOL, epochs=EPOCHS, lr=LR)
            found.append(100 * value)
        click.echo(f"{'random ' if random else ''}{changes} {count or ''}: {cell(found)}")
        return found

    def seconds(self, changes: dict[str, object]) -> float:
        """Return what the synthesis of the first seed took."""
        config = run_config(self.data, 0, changes, pool=self.pool)
        folder = RUNS / stable_hash(config.model_dump(mode="json"))
        return float(read_cost(folder)["synthesis_seconds"])


@click.command()
@click.option("--data", required=True, help="where Fashion-MNIST lies, or its name")
@click.option("--seeds", type=int, default=3, help="distillation seeds")
def main(data: str, seeds: int) -> None:
    torch.set_num_threads(1)
    study = Study(data, seeds)
    base = study.accuracies({})
    random = study.accuracies({}, random=True)
    curves = {
        name: {
            value: base if BASE.get(name, 3) == value else study.accuracies({name: value})
            for value in values
        }
        for name, (_, values) in CURVES.items()
    }
    departures = {
        title: (
            study.accuracies({"batch_syn": 50, **changes}),
            study.seconds({"batch_syn": 50, **changes}),
        )
        for title, changes in DEPARTURES.items()
    }
    groups = {
        "IPC 40 in one run": study.accuracies({}, ipc=40, evaluations=5),
        "IPC 40 as four groups of 10": study.accuracies({}, ipc=40, groups=4, evaluations=5),
        "random, IPC 40": study.accuracies({}, random=True, ipc=40, evaluations=5),
    }
    rows = [("APM", cell(base), ""), ("random real images, same labels", cell(random), "")]
    rows += [
        (
            f"{CURVES[name][0]} = {value:g}",
            cell(found),
            cell([a - b for a, b in zip(found, base, strict=True)]),
        )
        for name, line in curves.items()
        for value, found in line.items()
    ]
    plain = departures["mini-batches of 50, as the paper"][0]
    rows += [
        (
            f"{title}, {took:.0f} s",
            cell(found),
            cell([a - b for a, b in zip(found, plain, strict=True)]),
        )
        for title, (found, took) in departures.items()
    ]
    rows += [(title, cell(found), "") for title, found in groups.items()]
    write(
        "apm_ablations",
        {
            "base": base,
            "random": random,
            "curves": curves,
            "departures": departures,
            "groups": groups,
        },
        rows,
        ["Fashion-MNIST 14×14, IPC 10", "test accuracy, %", "difference, seed by seed"],
        f"ConvNet depth 2 width 24, {BASE}, three teachers of {POOL['train_epochs']} epochs, all "
        f"images in each round unless said; mean and standard deviation over {seeds} distillation "
        f"seeds, each the mean of {EVALUATIONS} evaluation seeds (groups: 5) under `{PROTOCOL}` "
        f"with {EPOCHS} epochs at {LR}. Differences are to the first row, of what follows "
        "mini-batches to that row.",
    )
    titles = {name: title for name, (title, _) in CURVES.items()}
    panels(
        "apm_ablations", {titles[n]: line for n, line in curves.items()}, "test accuracy, %", random
    )


if __name__ == "__main__":
    main()

"""Rows of papers on a CPU: python -m benchmarks.published --data CIFAR10 [--rows NAME,…]

CIFAR-10 with ConvNet-3-128, hard labels, the protocol `dsa` of 1000 epochs. Each row is a preset
that names its published figure; what a run did otherwise, to end within hours, stands beside it.
A row is written when its first network was tested, and again with each further one. Stopped, it
goes on where it was: runs and evaluations are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click
import torch

from benchmarks.writing import RESULTS, machine, write
from ddkit.bench.cells import run_key
from ddkit.config import RunConfig
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import open_test, protocol_for
from ddkit.evaluation.units import Evaluations
from ddkit.methods.presets import applied_preset
from ddkit.methods.published import Published, departures, figures_in
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.bars import reporter
from ddkit.runtime.cost import read_cost
from ddkit.runtime.files import read_json
from ddkit.runtime.interrupt import stopping_on_signals
from ddkit.runtime.machine import available_cores
from ddkit.runtime.precision import Precision

NAME, RUNS = "published", Path("runs/benchmark/published")
TIMED = ("pool", "synthesis", "evaluation")
FEATURES = ("train_epochs=10",)  # 30 epochs on all data would take hours for a coreset


@dataclass(frozen=True)
class Row:
    """A row of a paper: `networks` are trained on each of `sets`.

    Attributes:
        preset: of the method; it names the published figure.
        settings: what differs from the preset.
        precision: of the pool and the synthesis; networks are trained on the sets in float32.
    """

    method: str
    preset: str
    sets: int = 1
    networks: int = 3
    settings: Sequence[str] = ()
    precision: Precision = "fp32"

    @property
    def name(self) -> str:
        return f"{self.method}-{self.preset}"

    @property
    def figures(self) -> list[Published]:
        """What papers report of it, under one recipe."""
        figures = figures_in(applied_preset(self.method, self.preset))
        return [each for each in figures if each.recipe == figures[0].recipe]

    def config(self, data: str, seed: int, threads: int) -> RunConfig:
        ipc = int(self.preset.split("ipc")[1].split("-")[0])
        common = {"ipc": ipc, "seed": seed, "pool_seed": 0, "threads": threads}
        if self.precision != "fp32":
            common["precision"] = self.precision
        return resolve(Request(self.method, common, {"name": data}, self.settings, self.preset))


ROWS = (
    Row("random", "cifar10-ipc1", sets=5),
    Row("random", "cifar10-ipc10", sets=3, networks=1),
    Row("teddy", "cifar10-ipc1-table5", precision="bf16"),  # in half of the hours
    Row("teddy", "cifar10-ipc10-table5", networks=1, precision="bf16"),
    Row("herding", "cifar10-ipc1", settings=FEATURES),
    Row("k-center", "cifar10-ipc1", settings=FEATURES),
    Row("herding", "cifar10-ipc10", networks=1, settings=FEATURES),
    Row("k-center", "cifar10-ipc10", networks=1, settings=FEATURES),
    Row("dsa", "cifar10-ipc1", settings=("updates=400",)),
    Row("dm", "cifar10-ipc1", settings=("updates=2000",)),
)


def measured(row: Row, data: str, threads: int) -> None:
    """Make a row, and write it after every network."""
    accuracies: list[list[float]] = []
    seconds = dict.fromkeys(TIMED, 0.0)
    progress = reporter(True)
    protocol, network = row.figures[0].recipe
    for seed in range(row.sets):
        config = row.config(data, seed, threads)
        torch.set_num_threads(config.threads)
        folder = RUNS / f"{row.name}-{run_key(config)[:8]}"
        path = pipeline.distill(config, folder, progress)
        run = prepare(config, path.parent, progress)
        evaluations = Evaluations(path, run, open_test(run))
        cost = read_cost(path.parent)
        seconds["pool"] += cost.get("pool_training_seconds", 0.0)
        seconds["synthesis"] += cost.get("synthesis_seconds", 0.0)
        accuracies.append([])
        for count in range(row.networks):  # one by one: each is kept, and written
            number = seed * row.networks + count  # no two sets have networks of one seed
            found = evaluations.of_set(load(path), protocol_for(protocol), network, [number])
            seconds["evaluation"] += found.seconds
            accuracies[-1] += found.accuracies
            keep(row, config, accuracies, seconds)


def keep(
    row: Row,
    config: RunConfig,
    accuracies: Sequence[Sequence[float]],
    seconds: Mapping[str, float],
) -> None:
    """Put a row beside those that the results have, and write them."""
    path = RESULTS / f"{NAME}.json"
    rows: dict[str, Any] = read_json(path)["rows"] if path.exists() else {}
    rows[row.name] = {
        "method": row.method,
        "preset": row.preset,
        "published": [figure.model_dump() for figure in row.figures],
        "accuracies": accuracies,
        "otherwise": [
            *departures(config),
            *[f"pool and images in {row.precision}"] * (row.precision != "fp32"),
        ],
        "seconds": {stage: round(spent) for stage, spent in seconds.items()},
        "machine": machine(),
    }
    order = [each.name for each in ROWS]
    ordered = dict(sorted(rows.items(), key=lambda item: order.index(item[0])))
    write(
        NAME,
        {"rows": ordered},
        [cells(found) for found in ordered.values()],
        ["row", "published, %", "measured, %", "n", "difference", "otherwise", "seconds"],
        "CIFAR-10, test accuracy in percent: mean and standard deviation over n networks, on all "
        "sets together; n is sets × networks on each. Nothing was chosen on test data. Seconds are "
        "those of pool, synthesis and evaluation, on a machine that did other work as well.",
    )


def cells(found: Mapping[str, Any]) -> list[str]:
    """Return a row of the table from what was kept of it."""
    figures, sets = [Published(**each) for each in found["published"]], found["accuracies"]
    each = [100 * accuracy for networks in sets for accuracy in networks]
    spread = f" ± {stdev(each):.1f}" if len(each) > 1 else ""
    return [
        f"{found['method']}, {found['preset']}",
        "; ".join(f"{figure.text} ({figure.where})" for figure in figures),
        f"{fmean(each):.1f}{spread}",
        f"{len(sets)} × {max(map(len, sets))}",
        "; ".join(f"{fmean(each) - figure.accuracy:+.1f}" for figure in figures),
        "; ".join(found["otherwise"]) or "nothing",
        ", ".join(f"{found['seconds'][stage]:,}" for stage in TIMED),
    ]


@click.command()
@click.option("--data", required=True, help="the folder of CIFAR-10")
@click.option("--rows", "names", help="some of them, with commas; default: all")
@click.option("--threads", type=int, default=available_cores(), help="default: all cores")
def main(data: str, names: str | None, threads: int) -> None:
    known = {row.name: row for row in ROWS}
    for name in names.split(",") if names else known:
        if name not in known:
            raise click.ClickException(f"no row {name}; there are {', '.join(known)}")
    with stopping_on_signals():
        for name in names.split(",") if names else known:
            measured(known[name], data, threads)


if __name__ == "__main__":
    main()

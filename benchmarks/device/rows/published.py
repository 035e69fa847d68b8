"""One published row: distilled until its time is up, tested with as many networks as fit."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import Any

from benchmarks.device.parts import Bench, Line
from benchmarks.device.rows.cifar import TESTED, TRAINED, folder_of
from benchmarks.device.rows.until import distilled_until
from ddkit.config import RunConfig
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.evaluation.accuracy import evaluate_with, open_test, protocol_for, rated
from ddkit.evaluation.result import Evaluation
from ddkit.evaluation.training import train_on
from ddkit.evaluation.units import joined
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.run import Run
from ddkit.runtime.cost import read_cost
from ddkit.runtime.machine import device_name

EVALUATION = 0.12  # the share of a row's time in which networks are trained on the set
PACED = 4  # epochs that tell how many fit
SMALL = ":width=8"


@dataclass(frozen=True)
class Published:
    """A row of a paper.

    Attributes:
        name, ipc, value: what it is called, and what was published, in percent.
        method: ddkit's, with its preset for CIFAR-10.
        norm: what the network says beside `convnet`.
        every: steps between snapshots, for a method that may be stopped at any step; 0: for none.
        sets, networks: how many sets are made, and how many networks are trained on each.
        settings, small: options that differ from the preset's, on a device and where all is tiny.
    """

    name: str
    ipc: int
    value: str
    method: str
    norm: str = ""
    every: int = 0
    sets: int = 1
    networks: int = 5
    settings: Sequence[str] = ()
    small: Sequence[str] = ()

    @property
    def title(self) -> str:
        return f"{self.name}, IPC {self.ipc}"

    def config(self, bench: Bench, seed: int, *settings: str) -> RunConfig:
        """Return the run of a seed; `settings` go beyond those of the row."""
        own = self.small if bench.small else self.settings
        common = {
            "ipc": self.ipc,
            "seed": seed,
            "pool_seed": 0,
            "network": f"convnet{self.norm}" + SMALL * bench.small,
            "device": str(bench.device),
            "threads": 1,
            "precision": "tf32" if bench.cuda else "fp32",
            "compile": "off",
        }
        data = {"name": str(folder_of(bench))}
        return resolve(Request(self.method, common, data, [*own, *settings]))


def lines(row: Published, bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve the row after the first network, and again as more are trained, within `seconds`."""
    began = time.monotonic()
    ends = began + seconds
    results: list[Evaluation] = []
    costs: list[dict[str, Any]] = []
    test: Resident | None = None
    for seed in range(row.sets):
        began, before = time.monotonic(), began
        if seed and began + (began - before) > ends:  # as long as the last one took
            break
        share = (ends - began) / (row.sets - seed)
        config = row.config(bench, seed)
        every = min(row.every, 1) if bench.small else row.every
        until = began + (1 - EVALUATION) * share
        shorter = partial(row.config, bench, seed)
        path = distilled_until(config, bench.scratch(), every, until, shorter)
        dataset = load(path)
        config = RunConfig.model_validate(dataset.config)
        run = prepare(config, path.parent)
        test = test or open_test(run)
        costs.append(read_cost(path.parent))
        for epochs, result in evaluated(run, dataset, test, row.networks, seed, began + share):
            done = Done(config, len(run.train), len(test), epochs, [*results, result], costs)
            yield line_of(row, bench, done)
        results.append(result)


def evaluated(
    run: Run, dataset: DistilledDataset, test: Resident, networks: int, seed: int, ends: float
) -> Iterator[tuple[int, Evaluation]]:
    """Serve the epochs and accuracy of one network, then those of all that fit until `ends`."""
    network, device = run.config.network, run.device
    protocol = rated(protocol_for("dsa"), dataset)
    train_on(dataset, protocol.with_recipe(epochs=1), network, 0, device)
    began = time.monotonic()
    train_on(dataset, protocol.with_recipe(epochs=PACED), network, 0, device)
    fitting = PACED * (ends - began) / (time.monotonic() - began) / networks
    epochs = max(1, min(protocol.recipe.epochs, int(fitting)))
    protocol = protocol.with_recipe(epochs=epochs)
    seeds = range(seed * networks, (seed + 1) * networks)
    first = evaluate_with(protocol, dataset, test, network, seeds[:1], device)
    yield epochs, first
    more = seeds[1 : 1 + max(0, int((ends - time.monotonic()) / first.seconds))]
    if more:
        others = evaluate_with(protocol, dataset, test, network, more, device)
        yield epochs, joined([first, others])


@dataclass(frozen=True)
class Done:
    """What a row was made of so far.

    Attributes:
        config: of the last set.
        trained, tested: real images.
        epochs: of each network on a set.
        results, costs: of each set.
    """

    config: RunConfig
    trained: int
    tested: int
    epochs: int
    results: Sequence[Evaluation]
    costs: Sequence[dict[str, Any]]

    @property
    def accuracies(self) -> list[float]:
        """In percent, of all networks."""
        return [100 * accuracy for each in self.results for accuracy in each.accuracies]

    @property
    def seconds(self) -> dict[str, float]:
        spent = {
            stage: sum(cost.get(f"{stage}_seconds", 0.0) for cost in self.costs)
            for stage in ("pool", "synthesis")
        }
        return {**spent, "evaluation": sum(each.seconds for each in self.results)}

    def cut(self, row: Published) -> list[str]:
        """Return what was not as in the row's preset and protocol."""
        usual = protocol_for("dsa").recipe.epochs
        return [
            *differences(row, self.config),
            *counted(self.trained, TRAINED, "training images"),
            *counted(self.tested, TESTED, "test images"),
            *counted(self.epochs, usual, "epochs of evaluation"),
            *counted(len(self.accuracies), row.sets * row.networks, "networks"),
        ]


def line_of(row: Published, bench: Bench, done: Done) -> Line:
    """Return the line of a row."""
    accuracies, cut = done.accuracies, done.cut(row)
    spread = f" ± {stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
    cells = {
        "CIFAR-10": row.title,
        "published, %": row.value,
        "measured, %": f"{fmean(accuracies):.1f}{spread}",
        "n": str(len(accuracies)),
        "seconds": ", ".join(f"{seconds:.0f}" for seconds in done.seconds.values()),
        "cut, or not as the preset": "; ".join(cut) or "nothing",
        "device": device_name(bench.device),
    }
    figures = {
        "published": row.value,
        "accuracies": accuracies,
        "sets": len(done.results),
        "seconds": done.seconds,
        "cut": cut,
        "training images": done.trained,
        "test images": done.tested,
        "device": device_name(bench.device),
        "config": done.config.model_dump(mode="json", exclude={"data"}),
    }
    return Line(row.title, cells, figures)


def differences(row: Published, config: RunConfig) -> Iterator[str]:
    """Yield what a run does otherwise than its preset: "experts 40 for 100"."""
    data = {"name": config.data.name}
    usual = resolve(Request(row.method, {"ipc": row.ipc}, data))
    if config.network != usual.network:
        yield f"{config.network} for {usual.network}"
    for name, value in config.options.items():
        if value != usual.options[name]:
            yield f"{name} {value} for {usual.options[name]}"


def counted(there: int, whole: int, what: str) -> list[str]:
    """Return what is said where not all was used: nothing, or "5,000 of 50,000 training images"."""
    return [f"{there:,} of {whole:,} {what}"] if there < whole else []

"""A short distillation of CIFAR-10 by each method, beside random images with the same labels."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import torch
from pyarrow import parquet

from benchmarks.device.figures import Bench, Figure, Outcome
from benchmarks.device.plans import Plan, paces, planned
from ddkit import comparison, pipeline
from ddkit.config import RunConfig
from ddkit.cost import read_cost
from ddkit.distilled import load
from ddkit.evaluation import Evaluation, own_protocol_name
from ddkit.progress import Silent
from ddkit.resolve import Request, resolve

METHODS = {"random": 2.0, "teddy": 5.0, "tesla": 5.0, "apm": 5.0}  # and their shares of the time
IPC = 10
WARNING = "shows that it runs, not how good it is"


@dataclass(frozen=True)
class Extent:
    """What a device can bear: the network, evaluation seeds, real images of each split."""

    network: str
    seeds: int
    train: int
    test: int


QUICK = Extent("convnet", 3, 50_000, 10_000)
SLOW = Extent("convnet:width=32", 2, 2_000, 1_000)


def figures(bench: Bench) -> list[Figure]:
    if bench.data is None:
        click.echo("distillation: left out, for no --data says where CIFAR-10 lies")
        return []
    return [
        Figure(f"distillation by {method}", partial(outcomes, bench, method), share)
        for method, share in METHODS.items()
    ]


def outcomes(bench: Bench, method: str, seconds: float) -> Iterator[Outcome]:
    """Distil in about so many seconds; serve the accuracy, and that of random images."""
    began = time.monotonic()
    quick = bench.device.type == "cuda"
    extent = QUICK if quick else SLOW
    with mapped_tier():
        folder = bench.scratch()
        data = bench.data if quick else excerpt(bench, extent)
        least = Plan(method, quick)
        run = pipeline.prepare(config_of(bench, data, extent, least), folder / "pace")
        found = paces(run, method, extent.test)
        plan = planned(least, found, seconds - (time.monotonic() - began), extent.seeds)
        path = pipeline.distill(config_of(bench, data, extent, plan), folder / "run")
        rows = comparison.compare(
            path, protocols=[own_protocol_name(load(path))], networks=None,
            seeds=range(extent.seeds), recipe={"epochs": plan.epochs}, progress=Silent(),
            random=method != "random", real=False,
        )  # fmt: skip
    cost = read_cost(path.parent)
    images = f"{len(run.train):,} training and {extent.test:,} test images"
    said = [plan.text, images, *[WARNING] * (not quick)]
    yield Outcome(
        cells(method, [row.evaluation for row in rows], cost, "; ".join(said)),
        {"method": method, "rows": [row.to_json() for row in rows], "cost": cost,
         "plan": asdict(plan), "real images": len(run.train), "distillation seeds": 1},
    )  # fmt: skip


def cells(
    method: str, results: Sequence[Evaluation], cost: dict[str, float], how: str
) -> dict[str, str]:
    """Return a line of the table: of a set, and of random images where they are beside it."""
    own, *others = results
    spent = [*(cost.get(f"{stage}_seconds", 0.0) for stage in ("pool", "synthesis")),
             sum(result.seconds for result in results)]  # fmt: skip
    return {
        f"CIFAR-10, IPC {IPC}": method,
        "network": own.network,
        "labels (protocol)": f"{own.labels} ({own.protocol})",
        "evaluation seeds": str(len(own.accuracies)),
        "test accuracy, %": percent(own),
        "random images, same labels and recipe": "".join(map(percent, others)),
        "over random": "".join(f"{100 * (own.mean - other.mean):+.1f}" for other in others),
        "seconds of pool, synthesis, evaluation": ", ".join(f"{each:.0f}" for each in spent),
        "how": how,
    }


def percent(result: Evaluation) -> str:
    return f"{100 * result.mean:.1f} ± {100 * result.std:.1f}"


def excerpt(bench: Bench, extent: Extent) -> Path:
    """Return a folder with the first images of each split, made when it is first asked for."""
    folder = bench.folder / "cifar10"
    for split, count in (("train", extent.train), ("test", extent.test)):
        target = folder / f"{split}.parquet"
        if not target.exists() and bench.data is not None:
            folder.mkdir(exist_ok=True)
            first, *_ = sorted(bench.data.rglob(f"{split}*.parquet"))
            parquet.write_table(parquet.read_table(first).slice(0, count), target)
    return folder


def config_of(bench: Bench, data: Path | None, extent: Extent, plan: Plan) -> RunConfig:
    """Return the whole configuration of a run."""
    network = extent.network + ":norm=batch" * (plan.method == "teddy")
    common = {
        "ipc": IPC, "network": network, "threads": torch.get_num_threads(),
        "device": str(bench.device),
    }  # fmt: skip
    return resolve(Request(plan.method, common, {"name": str(data)}, plan.settings, "none"))


@contextmanager
def mapped_tier() -> Iterator[None]:
    """Keep pixels in a file of the cache: the same bytes, and decoded once for all runs."""
    before = os.environ.get("DDKIT_TIER")
    os.environ["DDKIT_TIER"] = "mapped"
    try:
        yield
    finally:
        del os.environ["DDKIT_TIER"]
        if before is not None:
            os.environ["DDKIT_TIER"] = before

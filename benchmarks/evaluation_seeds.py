"""Ten evaluation seeds in turn, at once, as chosen: python -m benchmarks.evaluation_seeds

Training and testing on random real images of the digits, the three ways in alternation.
OMP_NUM_THREADS sets the threads. Choosing is timed apart, as a share of a whole evaluation.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.writing import write
from ddkit.data.augmentation.views import draw_views
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.evaluation import training as distilled_training
from ddkit.evaluation.accuracy import evaluate_with, open_test, protocol_for
from ddkit.evaluation.training import at_once
from ddkit.labels import EpochLabels, Labels, SoftLabels, joined
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve

NETWORK = "convnet:width=64"
SEEDS = range(10)
WAYS = {"in turn": False, "batched": True, "chosen": None}


@dataclass(frozen=True)
class Case:
    """What is trained on: `epochs` of a protocol, at least as many steps as are measured at all."""

    ipc: int
    labels: str
    epochs: int
    repeats: int


CASES = [
    Case(1, "hard", 300, 3),
    Case(1, "soft", 300, 3),
    Case(1, "epoch", 300, 3),
    Case(10, "hard", 300, 1),
    Case(50, "hard", 150, 1),  # 2 batches an epoch
]


def labels_of(kind: str, count: int) -> Labels:
    """Return soft labels, of random logits: their values cost no time."""
    random = torch.Generator().manual_seed(0)
    if kind == "soft":
        return SoftLabels(torch.randn(count, 10, generator=random))
    views = [draw_views(count, (8, 8), random, flip=False) for _ in range(300)]
    return EpochLabels(torch.randn(300, count, 10, generator=random), joined(views))


def time_case(case: Case, folder: Path) -> dict[str, Any]:
    """Measure the three ways in alternation, and what choosing takes."""
    common = {"ipc": case.ipc, "network": NETWORK, "threads": torch.get_num_threads()}
    config = resolve(Request("random", common, {"name": "digits"}, [], "none"))
    distilled: DistilledDataset = load(pipeline.distill(config, folder))
    run = prepare(config, folder)
    test = open_test(run)
    if case.labels != "hard":
        distilled.labels = labels_of(case.labels, len(distilled))
    whole = protocol_for("dsa" if case.labels == "hard" else "soft")
    protocol = whole.with_recipe(epochs=case.epochs)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    measuring: list[float] = []
    found = {}
    for _ in range(case.repeats):
        for way, together in WAYS.items():
            distilled_training._faster.clear()
            start = time.perf_counter()
            if together is None:
                at_once(distilled, protocol, NETWORK, SEEDS, run.device)
                measuring.append(time.perf_counter() - start)
            found[way] = evaluate_with(
                protocol, distilled, test, NETWORK, SEEDS, run.device, together=together
            )
            seconds[way].append(time.perf_counter() - start)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    of_all = medians["in turn"] * whole.recipe.epochs / case.epochs
    return {
        "epochs": case.epochs,
        "seeds_per_second": {way: len(SEEDS) / value for way, value in medians.items()},
        "chosen": found["chosen"].together,
        "measuring": statistics.median(measuring) / of_all,
        "peak_bytes": {way: result.peak_bytes for way, result in found.items()},
        "mean_accuracy": {way: result.mean for way, result in found.items()},
    }


def main() -> None:
    cases = {}
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            figures = time_case(case, Path(name))
        title = f"ipc {case.ipc}, {case.labels} labels, {case.epochs} epochs"
        cases[title] = figures
        rate, peak = figures["seeds_per_second"], figures["peak_bytes"]
        rows.append(
            (
                title,
                *(f"{rate[way]:.2f}" for way in WAYS),
                f"{rate['batched'] / rate['in turn']:.2f}",
                "batched" if figures["chosen"] > 1 else "in turn",
                f"{100 * figures['measuring']:.1f} %",
                f"{peak['in turn'] / 1e6:.1f} / {peak['batched'] / 1e6:.1f} MB",
            )
        )
        print(*rows[-1], sep=" | ", flush=True)
    write(
        "evaluation_seeds",
        {"network": NETWORK, "seeds": len(SEEDS), "cases": cases},
        rows,
        [
            "random digits, 10 seeds",
            "in turn, seeds/s",
            "batched",
            "chosen, measuring included",
            "batched / in turn",
            "chosen",
            "measuring, of a whole evaluation",
            "peak, in turn / batched",
        ],
        f"{NETWORK}; training and testing; protocol dsa for hard labels, soft for the others. "
        "Medians of three evaluations at ipc 1, one evaluation at ipc 10 and 50.",
    )


if __name__ == "__main__":
    main()

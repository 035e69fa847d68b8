"""Accuracy over distillation seeds: python -m benchmarks.accuracy --data digits --ipc 1 --seeds 10

Teddy beside random real images, its own setting with one converged model, and SRe²L, all under the
identical recipes. Each distillation seed has its own random images; figures are the mean over
evaluation seeds, then mean and standard deviation over distillation seeds. Runs are kept under
runs/benchmark and are not repeated.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click

from benchmarks.writing import write
from ddkit.config import RunConfig
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import evaluate_real, evaluate_with, open_test, protocol_for
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import baseline_config, prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.cache import stable_hash

RUNS = Path("runs/benchmark")
RANDOM = "random real images"


@dataclass(frozen=True)
class Variant:
    """One row: a method with settings over its preset."""

    title: str
    method: str
    settings: tuple[str, ...] = ()
    preset: str | None = None


VARIANTS = (
    Variant("Teddy", "teddy"),
    Variant(
        "Teddy, one converged model", "teddy", ("unit=epoch", "first=50", "last=50", "teachers=1")
    ),
    Variant("Teddy, running statistics of training (the paper's)", "teddy", ("recalibrate=0",)),
    Variant("SRe²L's own settings (alias)", "sre2l", ("recalibrate=0",)),
)


def run_config(
    variant: Variant, seed: int, data: dict[str, Any], common: dict[str, Any]
) -> RunConfig:
    """Return the configuration of one distillation seed."""
    flags = {**common, "seed": seed}
    return resolve(Request(variant.method, flags, data, variant.settings, variant.preset))


def evaluated(
    config: RunConfig, protocols: list[str], seeds: int, epochs: int | None
) -> dict[str, float]:
    """Distil (or find the finished run) and return the mean accuracy for each protocol."""
    folder = RUNS / stable_hash(config.model_dump(mode="json"))
    distilled = load(pipeline.distill(config, folder))
    run = prepare(config, folder)
    test = open_test(run)
    result = {}
    for name in protocols:
        protocol = protocol_for(name)
        if protocol.labels == "own" and distilled.labels.kind == "hard":
            continue
        if epochs is not None:
            protocol = protocol.with_recipe(epochs=epochs)
        result[name] = evaluate_with(
            protocol, distilled, test, config.network, range(seeds), run.device
        ).mean
    return result


def cell(values: list[float]) -> str:
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.1f}{spread}"


@click.command()
@click.option("--data", default="digits")
@click.option("--resize", type=int)
@click.option("--ipc", type=int, default=1)
@click.option("--network", help="default: the preset's")
@click.option("--seeds", type=int, default=10, help="distillation seeds")
@click.option("--evaluations", type=int, default=2, help="evaluation seeds of each")
@click.option("--epochs", type=int, help="instead of the protocols'")
@click.option("--preset")
@click.option("--variants", type=int, default=len(VARIANTS), help="the first N rows only")
@click.option("--set", "settings", multiple=True, help="for all rows of Teddy")
@click.option("--name", help="of the files under results/; default: the data's")
def main(
    data: str,
    resize: int | None,
    ipc: int,
    network: str | None,
    seeds: int,
    evaluations: int,
    epochs: int | None,
    preset: str | None,
    variants: int,
    settings: tuple[str, ...],
    name: str | None,
) -> None:
    """Measure, and write results/<name>-ipc<n>.json and .md."""
    where = {"name": data, "resize": resize}
    common = {"ipc": ipc, "threads": 1, "network": network}
    protocols = ["dsa", "soft"]
    figures: dict[str, dict[str, list[float]]] = {}
    first = VARIANTS[0]
    for variant in VARIANTS[:variants]:
        own = settings if variant.method == "teddy" else ()
        variant = Variant(
            variant.title,
            variant.method,
            (*own, *variant.settings),
            preset if variant.method == "teddy" else "none",  # the alias's own: SRe2L's
        )
        for seed in range(seeds):
            config = run_config(variant, seed, where, common)
            if variant.method != "teddy":  # the same network for all, or it would be no comparison
                teddy = run_config(first, seed, where, common)
                config = config.model_copy(update={"network": teddy.network})
            found = evaluated(config, protocols, evaluations, epochs)
            for protocol, value in found.items():
                figures.setdefault(variant.title, {}).setdefault(protocol, []).append(value)
            if variant.title == first.title:
                baseline = baseline_config(config)
                for protocol, value in evaluated(baseline, protocols, evaluations, epochs).items():
                    figures.setdefault(RANDOM, {}).setdefault(protocol, []).append(value)
            click.echo(f"{variant.title}, seed {seed}: {found}")
    run = prepare(config, RUNS)
    real = evaluate_real(protocol_for("dsa"), run, open_test(run), config.network, range(3))
    figures["all real data"] = {"dsa": list(real.accuracies)}
    base = figures[RANDOM]
    rows = [
        (
            title,
            *(cell(values[p]) if p in values else "" for p in protocols),
            *(
                f"{100 * (fmean(values[p]) - fmean(base[p])):+.1f}" if p in values else ""
                for p in protocols
            ),
        )
        for title, values in figures.items()
    ]
    write(
        f"{name or config.data.tag}-ipc{ipc}",
        {
            "accuracy": figures,
            "network": config.network,
            "config": config.model_dump(mode="json"),
            "evaluations": evaluations,
            "epochs": epochs,
        },
        rows,
        [
            f"{config.data.tag}, ipc {ipc}",
            "hard labels (dsa), %",
            "soft labels (soft), %",
            "hard, over random",
            "soft, over random",
        ],
        f"Test accuracy of {config.network}: mean and standard deviation over {seeds} distillation "
        f"seeds, each the mean of {evaluations} evaluation seeds"
        + (f" of {epochs} epochs." if epochs else ".")
        + " Random images of each seed have the labels of Teddy's pool of that seed. "
        "All real data: 3 evaluation seeds.",
    )


if __name__ == "__main__":
    main()

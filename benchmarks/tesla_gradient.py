"""What exactness buys: python -m benchmarks.tesla_gradient --data FASHION_MNIST

Accuracy over iterations with the exact gradient and with the paper's Eq. 5, seed by seed from the
same experts, images and draws, beside random real images. Runs are kept under runs/benchmark.
"""

from pathlib import Path

import click
import torch

from benchmarks.measuring import accuracy, cell, distilled
from benchmarks.plots import curves
from benchmarks.writing import write
from ddkit.config import RunConfig
from ddkit.distilled.dataset import load
from ddkit.distilled.writing import write_distilled
from ddkit.labels import HardLabels
from ddkit.pipeline.prepare import baseline_config, describe, prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.run import Run
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.images import Synthetic

RUNS = Path("runs/benchmark/tesla-gradient")
GRADIENTS = ("exact", "paper")
EVALUATIONS = 3
EPOCHS, PROTOCOL = 300, "plain"  # of an evaluation
SETTINGS = (
    "experts=4",
    "train_epochs=15",
    "max_start_epoch=5",
    "student_steps=30",
    "iterations=160",
    "lr_images=100",
    "lr_student=0.05",
    "labels=hard",
    "together=1",
    "train_augmentation=none",
    "augmentation=none",
)


def run_config(gradient: str, seed: int, data: str, settings: tuple[str, ...]) -> RunConfig:
    common = {
        "ipc": 10,
        "seed": seed,
        "pool_seed": 0,
        "threads": 1,
        "network": "convnet:depth=2:width=24",
    }
    wanted = [*SETTINGS, f"gradient={gradient}", *settings]
    return resolve(Request("tesla", common, {"name": data, "resize": 14}, wanted, "none"))


def snapshots(run: Run, folder: Path) -> dict[int, Path]:
    """Return an artifact for each number of iterations after which the run kept its images."""
    sets = {}
    for step in sorted((folder / "snapshots").iterdir()):
        file = TensorFile(step / "shard-00000.safetensors")
        images = Synthetic(file["images"], file["classes"], float(file["learning_rate"]))
        path = folder / "evaluated" / f"{step.name}.safetensors"
        labels = HardLabels(images.classes)
        write_distilled(path, images, labels, run.space, describe(run))
        sets[int(step.name.removeprefix("step-"))] = path
    return sets


def measured(config: RunConfig, every: int) -> dict[int, float]:
    """Distil; return the accuracy (%) after each kept number of iterations, 0 for random images."""
    folder = distilled(config, RUNS, snapshot_every=every).parent
    run = prepare(config, folder)
    random = distilled(baseline_config(config), RUNS)
    found = {
        0: accuracy(
            run, load(random), random, EVALUATIONS, tune=True, epochs=EPOCHS, protocol=PROTOCOL
        )
    }
    for step, path in snapshots(run, folder).items():
        found[step] = accuracy(run, load(path), path, EVALUATIONS, epochs=EPOCHS, protocol=PROTOCOL)
    return {step: 100 * value for step, value in found.items()}


@click.command()
@click.option("--data", required=True, help="where Fashion-MNIST lies, or its name")
@click.option("--seeds", type=int, default=3, help="distillation seeds")
@click.option("--every", type=int, default=20, help="iterations between evaluations")
@click.option("--set", "settings", multiple=True)
def main(data: str, seeds: int, every: int, settings: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    figures: dict[str, list[dict[int, float]]] = {name: [] for name in GRADIENTS}
    for seed in range(seeds):
        for gradient in GRADIENTS:
            figures[gradient].append(measured(run_config(gradient, seed, data, settings), every))
            click.echo(f"{gradient}, seed {seed}: {figures[gradient][-1]}")
    steps = sorted(figures["exact"][0])
    lines = {
        name: {step: [found[step] for found in figures[name]] for step in steps}
        for name in GRADIENTS
    }
    rows = [
        (
            str(step) if step else "0 (random images)",
            *(cell(lines[name][step]) for name in GRADIENTS),
            cell([a - b for a, b in zip(*(lines[n][step] for n in GRADIENTS), strict=True)]),
        )
        for step in steps
    ]
    config = run_config("exact", 0, data, settings).model_dump(mode="json")
    config["data"]["name"] = Path(data).name
    write(
        "tesla_gradient",
        {"accuracy": lines, "config": config},
        rows,
        ["iterations", "exact, %", "paper (Eq. 5), %", "exact − paper, seed by seed"],
        f"Test accuracy on Fashion-MNIST at 14×14, 10 images per class, ConvNet depth 2 width 24, "
        f"T = 30: mean and standard deviation over {seeds} distillation seeds, each the mean of "
        f"{EVALUATIONS} evaluation seeds; {EPOCHS} epochs at the learned rate, no "
        "augmentation anywhere. Random images have the rate that is best on a tenth of the "
        "training data.",
    )
    curves("tesla_gradient", lines, "iterations", "test accuracy, %")


if __name__ == "__main__":
    main()

"""Soft against hard labels, many classes: python -m benchmarks.tesla_labels --data CIFAR100_SMALL

TESLA with each kind of labels from the same experts, beside random real images with hard labels and
with the experts' labels, each under the identical recipe. Runs are kept under runs/benchmark.
"""

from pathlib import Path

import click
import torch

from benchmarks.measuring import cell, evaluated
from benchmarks.writing import write
from ddkit.config import RunConfig
from ddkit.pipeline.prepare import baseline_config
from ddkit.pipeline.resolve import Request, resolve

RUNS = Path("runs/benchmark/tesla-labels")
# Hard labels do best with slow experts, soft ones with faster ones, a larger β (their gradients
# are smaller) and slower pixels: the best of four tries on a holdout, and of nine for soft ones.
HARD = ("train_lr=0.01", "lr_student=0.02", "lr_lr=1e-5", "lr_images=1000")
SOFT = ("train_lr=0.05", "lr_student=0.2", "lr_lr=1e-6", "lr_images=1")
LABELS = {"hard": HARD, "learned": HARD, "target": SOFT, "last": SOFT}
EVALUATIONS = 2
EPOCHS = 300  # of an evaluation
SETTINGS = (
    "experts=4",
    "train_epochs=30",
    "train_batch=64",
    "student_steps=20",
    "expert_epochs=3",
    "max_start_epoch=10",
    "iterations=60",
    "together=1",
)


def run_config(labels: str, seed: int, data: str, settings: tuple[str, ...]) -> RunConfig:
    common = {
        "ipc": 1,
        "seed": seed,
        "pool_seed": 0,
        "threads": 1,
        "network": "convnet:depth=2:width=32",
    }
    wanted = [*SETTINGS, *LABELS[labels], f"labels={labels}", *settings]
    return resolve(Request("tesla", common, {"name": data, "resize": 16}, wanted, "none"))


def random_images(config: RunConfig) -> float:
    """Return the accuracy of random images with a run's labelling, at a tuned rate."""
    protocol = "dsa" if config.options["labels"] == "hard" else "dsa-soft"
    baseline = baseline_config(config)
    return 100 * evaluated(baseline, RUNS, EVALUATIONS, protocol=protocol, tune=True, epochs=EPOCHS)


@click.command()
@click.option("--data", required=True, help="where the images lie")
@click.option("--seeds", type=int, default=3, help="distillation seeds")
@click.option("--labels", "kinds", default=",".join(LABELS), help="the rows, with commas")
@click.option("--set", "settings", multiple=True)
def main(data: str, seeds: int, kinds: str, settings: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    figures: dict[str, list[float]] = {}
    random: dict[str, list[float]] = {}
    for seed in range(seeds):
        for labels in kinds.split(","):
            config = run_config(labels, seed, data, settings)
            figures.setdefault(labels, []).append(
                100 * evaluated(config, RUNS, EVALUATIONS, epochs=EPOCHS)
            )
            if labels != "learned":  # random images learn no labels
                random.setdefault(labels, []).append(random_images(config))
            click.echo(f"{labels}, seed {seed}: {figures[labels][-1]:.1f}")
    rows = [
        (labels, cell(values), cell(random[labels]) if labels in random else "")
        for labels, values in figures.items()
    ]
    write(
        "tesla_labels",
        {"tesla": figures, "random": random, "settings": [*SETTINGS, *settings], "own": LABELS},
        rows,
        ["labels", "TESLA, %", "random real images, %"],
        "Test accuracy on cifar100-small (100 classes of 100 images) at 16×16, 1 image per class, "
        f"ConvNet depth 2 width 32: mean and standard deviation over {seeds} distillation seeds, "
        f"each the mean of {EVALUATIONS} evaluation seeds; {EPOCHS} epochs with DSA, each set with "
        "its own labels. Random images have the rate that is best on a tenth of the training data.",
    )


if __name__ == "__main__":
    main()

"""RCIG's own set under our objective: python -m benchmarks.rcig_start --set FILE --data CIFAR10

The loss of predictions of real images, at the optimal temperature, from three sets: RCIG's released
one of one image per class of CIFAR-10, random real images with the targets of their classes, and
the latter after some of our own steps. All in networks that none of them has seen in a step: random
ones, and after some turns of training on the set.
"""

from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import click
import torch
import torch.nn.functional as F
from ddkit_regression.kernels import Step
from ddkit_regression.objective import RegressionObjective
from torch import Tensor

from benchmarks.writing import write
from ddkit import load
from ddkit.data.options import DataOptions
from ddkit.distilled.interop.importing import Request as Import
from ddkit.distilled.interop.importing import import_set
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage
from ddkit.runtime.arithmetic import EXACT
from ddkit.synthesis.engine import take_step, values
from ddkit.synthesis.leaves import LeafState

NETWORK = "convnet:width=32:norm=none:growth=2:init=lecun"  # a quarter of the published width
SETTINGS = ["inner=exact", "networks=3", "batch_real=256"]
UNSEEN = 1000  # the number of the first shard whose networks and batches no step has drawn
TRIES, TURNS = 3, 5  # networks, and turns of up to 15 steps that each is trained for


def objective_of(data: str, folder: Path) -> RegressionObjective:
    flags = {"ipc": 1, "network": NETWORK, "threads": torch.get_num_threads()}
    space = {"name": data, "space": "zca-relative"}
    config = resolve(Request("rcig", flags, space, SETTINGS, "none"))
    return RegressionObjective(Stage(prepare(config, folder), "synthesis").run)


def loss_of(objective: RegressionObjective, images: Tensor, targets: Tensor, turns: int) -> float:
    """Return the mean loss over networks, each with a real batch of its own."""
    found = []
    for number in range(TRIES):
        shard = objective.shards()[0]
        unseen = type(shard)(UNSEEN + number, shard.slots, shard.classes)
        objective.kernel.begin()
        for turn in range(turns):
            objective.kernel.living.network(unseen, turn, images, targets)  # type: ignore[attr-defined]
        rows = objective._drawn(unseen, turns)
        labels = objective.run.train.labels[rows]
        seen: list[Tensor] = []

        def outer(
            predictions: Tensor, labels: Tensor = labels, seen: list[Tensor] = seen
        ) -> Tensor:
            seen.append(predictions.detach())
            return F.cross_entropy(predictions, labels)

        leaves = {"images": images.clone().requires_grad_(), "targets": targets.clone()}
        real = [objective.run.resident.inputs(rows)]
        step = Step(unseen, turns, leaves, leaves["images"], leaves["targets"], real)
        objective.kernel.loss(step, outer)
        found.append(coolest(seen[0], labels))
    return fmean(found)


def coolest(predictions: Tensor, labels: Tensor) -> float:
    """Return the least cross-entropy over temperatures."""
    scales = torch.logspace(-2, 2, 81)
    return min(F.cross_entropy(scale * predictions, labels).item() for scale in scales)


def released(source: Path, data: str, folder: Path) -> tuple[Tensor, Tensor]:
    """Return images and targets of RCIG's set, as network inputs."""
    path = folder / "set.safetensors"
    import_set(source, path, Import(data=DataOptions(name=data)))
    distilled = load(path)
    return distilled.inputs(torch.arange(len(distilled)))


@click.command(help=__doc__.split("\n")[0])
@click.option("--set", "source", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", default="cifar10", help="A name or a folder of CIFAR-10.")
@click.option("--steps", default=40, help="Our own, from real images.")
def main(source: Path, data: str, steps: int) -> None:
    torch.set_num_threads(1)
    with TemporaryDirectory() as name:
        objective = objective_of(data, Path(name) / "run")
        shard = objective.shards()[0]
        leaves = {
            key: LeafState(leaf, objective.run.device)
            for key, leaf in objective.initialise(shard).items()
        }
        first = values(leaves)
        sets = {
            "RCIG's set": released(source, data, Path(name)),
            "random real images": (first["images"].clone(), first["targets"].clone()),
        }
        losses = []
        for step in range(steps):
            losses.append(take_step(objective, shard, leaves, step, EXACT).item())
            print(f"step {step}: {losses[-1]:.4f}", flush=True)
        ours = values(leaves)
        sets[f"{steps} of our steps from these"] = (ours["images"], ours["targets"])
        found = {
            title: {turns: loss_of(objective, *each, turns) for turns in (0, TURNS)}
            for title, each in sets.items()
        }
    rows = [(title, *(f"{value:.3f}" for value in each.values())) for title, each in found.items()]
    write(
        "rcig_start",
        {"losses": found, "network": NETWORK, "steps": losses},
        rows,
        ["set of 10 images", "in random networks", f"after {TURNS} turns of training"],
        "Cross-entropy of predictions of real CIFAR-10 images (ln 10 = 2.303), the mean over "
        f"{TRIES} networks (`{NETWORK}`) with a batch of 256 each, at the best temperature.",
    )


if __name__ == "__main__":
    main()

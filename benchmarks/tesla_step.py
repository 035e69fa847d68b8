"""A TESLA iteration against bare torch: python -m benchmarks.tesla_step

The floor is T plain forward and backward passes with SGD, and T double-backward passes, over the
same network, batches and augmentation parameters, written out in torch. The iterations are those of
the engine: experts are read, batches and augmentations drawn, pixels and β updated.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from ddkit_tesla.objective import TeslaObjective

from benchmarks.teddy_step import ddkit_steps
from benchmarks.writing import write
from ddkit.data.augmentation.dsa import apply_dsa
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage
from ddkit.synthesis.initial import initial_inputs
from ddkit.synthesis.shards import Shard

CASES = {  # network, image side, images, T, iterations
    "ConvNet-2 ×24, 14 px, 100 images, T = 30": ("convnet:depth=2:width=24", 14, 100, 30, 12),
    "ConvNet-3 ×64, 32 px, 50 images, T = 10": ("convnet:depth=3:width=64", 32, 50, 10, 10),
}


def objective_of(
    network: str, side: int, images: int, steps: int, gradient: str, folder: Path
) -> TeslaObjective:
    settings = [
        "experts=1",
        "train_epochs=2",
        "max_start_epoch=1",
        f"student_steps={steps}",
        f"gradient={gradient}",
        "labels=hard",
        "lr_images=1e-6",
        "lr_lr=0",
        "together=1",
    ]
    common = {"ipc": images // 10, "network": network, "threads": torch.get_num_threads()}
    config = resolve(Request("tesla", common, {"name": "digits", "resize": side}, settings, "none"))
    run = prepare(config, folder)
    return TeslaObjective(Stage(run, "synthesis").run, stage_pools.open_pool(run, "synthesis"))


def floor(objective: TeslaObjective, shard: Shard, *, exact: bool = False) -> Callable[[int], None]:
    """Return the same arithmetic in bare torch, of either gradient; draws are made before."""
    run, options = objective.run, objective.options
    network = run.network(run.generator("student")).eval()
    parameters = list(network.parameters())
    images = initial_inputs(run, shard).to(run.device)
    classes = shard.classes.to(run.device)
    drawn = [
        objective._augmented(shard, rows, 0, number).augmentation
        for number, rows in enumerate(objective._batches(shard, 0))
    ]
    direction = [torch.randn_like(parameter) * 1e-3 for parameter in parameters]

    def iteration(number: int) -> None:
        for augmentation in drawn:
            loss = F.cross_entropy(network(apply_dsa(images, augmentation)), classes)
            slopes = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, slope in zip(parameters, slopes, strict=True):
                    parameter.sub_(options.lr_student * slope)
        for augmentation in drawn:
            inputs = images.requires_grad_()
            loss = F.cross_entropy(network(apply_dsa(inputs, augmentation)), classes)
            slopes = torch.autograd.grad(loss, parameters, create_graph=True)
            through = [inputs, *parameters] if exact else [inputs]
            torch.autograd.grad(slopes, through, direction, materialize_grads=True)

    return iteration


def seconds(step: Callable[[int], None], number: int) -> float:
    began = time.perf_counter()
    step(number)
    return time.perf_counter() - began


def time_case(
    network: str, side: int, images: int, steps: int, count: int, folder: Path
) -> dict[str, float]:
    """Measure floor, paper and exact in turn: what disturbs the machine hits all three."""
    objectives = {
        name: objective_of(network, side, images, steps, name, folder)
        for name in ("paper", "exact")
    }
    shard = objectives["paper"].shards()[0]
    runs = {
        name: ddkit_steps(objective.run, objective, shard) for name, objective in objectives.items()
    }
    runs["floor"] = floor(objectives["paper"], shard)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(count):
        for name, step in runs.items():
            times[name].append(seconds(step, number))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        times = {case: time_case(*CASES[case], Path(name)) for case in CASES}
    rows = [
        (
            case,
            *(f"{1e3 * t[kind]:.0f} ms" for kind in ("floor", "paper", "exact")),
            f"{t['paper'] / t['floor']:.3f}",
            f"{t['exact'] / t['paper']:.3f}",
        )
        for case, t in times.items()
    ]
    write(
        "tesla_step",
        {"seconds": times},
        rows,
        ["one iteration, DSA", "floor", "paper", "exact", "paper / floor", "exact / paper"],
        "Medians of iterations taken in turn; the first is left out.",
    )


if __name__ == "__main__":
    main()

"""What `benchmarks.cpu` measures, each in a process of its own, of this ddkit or of an earlier one.

Only what both have is called. Prints one JSON value: seconds, and what the process took.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit import networks
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.run import Run


def found(*homes: str) -> Any:
    """Return what lies at the first of these places: today's, or that before there were rooms."""
    for home in homes:
        with suppress(ImportError, AttributeError):
            return resolve_name(home)
    raise ImportError(f"no ddkit has any of {homes}")


Resident = found("ddkit.data.loading.resident:Resident", "ddkit.data.resident:Resident")
load = found("ddkit.distilled.dataset:load", "ddkit.distilled:load")
judging = found("ddkit.evaluation.accuracy", "ddkit.evaluation")
distill = found("ddkit.pipeline.distill:distill", "ddkit.pipeline:distill")
engine_of = found("ddkit.pipeline.distill:engine_of", "ddkit.pipeline:engine_of")
prepare = found("ddkit.pipeline.prepare:prepare", "ddkit.pipeline:prepare")
stages_of = found("ddkit.pipeline.stages:Stages", "builtins:id")
open_pool = found("ddkit.pipeline.stages:open_pool", "ddkit.stage_pools:open_pool")
Request = found("ddkit.pipeline.resolve:Request", "ddkit.resolve:Request")
resolve = found("ddkit.pipeline.resolve:resolve", "ddkit.resolve:resolve")
RealTraining = found("ddkit.pools.real_training:RealTraining", "ddkit.real_training:RealTraining")
fit = found("ddkit.training.loop:fit", "ddkit.training:fit")
Recipe = found("ddkit.training.recipe:Recipe", "ddkit.training:Recipe")

NETWORK = "convnet:depth=3:width=32"
DATA = {"name": "digits", "resize": 32}
TIMES = 5


def run_of(method: str, folder: Path, ipc: int, *settings: str, network: str = NETWORK) -> Run:
    common = {"ipc": ipc, "network": network, "threads": torch.get_num_threads()}
    return prepare(resolve(Request(method, common, DATA, settings, "none")), folder)


def medians(work: Callable[[], object], times: int = TIMES) -> float:
    """Return the median seconds of some calls after the first, which allocates."""
    work()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def epoch(folder: Path) -> dict[str, Any]:
    """An epoch of the 1437 digits at 32 px, batches of 256, crops and flips."""
    run = run_of("random", folder, 1)
    training = RealTraining(run, "expert", 1, Recipe(epochs=99, batch_size=256), (), "crop-flip")
    steps = fit(
        training.network(0),
        lambda epoch: training.batches(0, epoch),
        training.recipe,
        steps_per_epoch=training.per_epoch,
        seed=0,
    )
    return {"seconds": medians(lambda: list(islice(steps, training.per_epoch)))}


def evaluation(folder: Path, ipc: int) -> dict[str, Any]:
    """As many images trained on, of `ipc` per class, as 1000 epochs and 10,000 tests would have."""
    run = run_of("random", folder, ipc)
    distilled = load(distill(run.config, folder / "set"))
    protocol, test = (
        judging.protocol_for("dsa").with_recipe(epochs=36),
        judging.open_test(run),
    )  # 360 tests
    found = []

    def evaluate() -> None:
        result = judging.evaluate_with(
            protocol, distilled, test, NETWORK, [0], run.device, together=False
        )
        found.append(result.accuracies[0])

    return {"seconds": medians(evaluate, 3), "accuracy": found[0]}


def tesla(folder: Path, ipc: int, steps: int, kept: str) -> dict[str, Any]:
    """An iteration of T student steps on all images."""
    settings = [
        "experts=1",
        "train_epochs=2",
        "max_start_epoch=1",
        "expert_epochs=1",
        "labels=hard",
        "together=1",
        f"student_steps={steps}",
        *([f"kept_graphs={kept}"] if kept else []),
    ]
    run = run_of("tesla", folder, ipc, *settings)
    return paced(run)


def teddy(folder: Path) -> dict[str, Any]:
    """A step of 100 images against three networks."""
    settings = ["last=5", "first=1", "unit=step", "train_batch=64", "teachers=3", "iterations=1000"]
    return paced(run_of("teddy", folder, 10, *settings, network=f"{NETWORK}:norm=batch"))


def paced(run: Run) -> dict[str, Any]:
    whole = run if stages_of is id else stages_of(run)  # engines were made of runs before
    engine = engine_of(whole, open_pool(run, "synthesis"))
    return {"seconds": statistics.median(engine.pace(4, 60) for _ in range(3))}


def loader(folder: Path) -> dict[str, Any]:
    """An epoch of 20,000 images at 32 px without a network."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (20_000, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(20_000) % 10, tuple("0123456789"))
    resident = Resident(split, InputSpace.fit(split, "standard"), "cpu")

    def serve() -> None:
        for _ in resident.batches(256, generator, augmentation="crop-flip"):
            pass

    run_of("random", folder, 1)  # what a run sets in its process
    return {"seconds": medians(serve)}


def overhead(folder: Path, network: str) -> dict[str, Any]:
    """What `fit` takes beside a bare loop, in one process and in turn; of tiny networks."""
    run_of("random", folder, 1)
    random = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(2, 3, 16, 16, generator=random), torch.tensor([0, 1])
    recipe = Recipe(epochs=1, batch_size=2, lr=1e-6)
    models = [
        networks.create(network, classes=2, shape=(3, 16, 16), generator=random) for _ in range(2)
    ]
    served = cycle([(inputs, targets)])
    ours = fit(models[0], lambda epoch: served, recipe, steps_per_epoch=10**9, seed=0)
    plain = bare(models[1], recipe, inputs, targets)
    taken: dict[str, list[float]] = {"fit": [], "bare": []}
    for _ in range(60):
        for name, steps in (("fit", ours), ("bare", plain)):
            began = time.perf_counter()
            list(islice(steps, 10))
            taken[name].append((time.perf_counter() - began) / 10)
    fitted, floor = (statistics.median(taken[name][10:]) for name in ("fit", "bare"))
    return {"seconds": max(fitted - floor, 0.0), "step": floor}


def bare(network: nn.Module, recipe: Recipe, inputs: Tensor, targets: Tensor) -> Iterator[None]:
    optimiser = recipe.build(network.parameters())
    while True:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(network(inputs), targets).backward()
        optimiser.step()
        yield


TASKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "epoch": epoch,
    "evaluation, ipc 1": lambda folder: evaluation(folder, 1),
    "evaluation, ipc 10": lambda folder: evaluation(folder, 10),
    "tesla, ipc 1": lambda folder: tesla(folder, 1, 20, ""),
    "tesla, ipc 5": lambda folder: tesla(folder, 5, 10, ""),
    "tesla, ipc 1, no graph kept": lambda folder: tesla(folder, 1, 20, "0"),
    "tesla, ipc 5, no graph kept": lambda folder: tesla(folder, 5, 10, "0"),
    "teddy": teddy,
    "loader": loader,
    "overhead, ConvNet-3": lambda folder: overhead(folder, "convnet:depth=3:width=4"),
    "overhead, ResNet-18": lambda folder: overhead(folder, "resnet18"),
}


def main(task: str, folder: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    found = TASKS[task](Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**found, "peak_bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])

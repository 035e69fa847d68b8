"""FTD's experts and DATM's iterations against bare torch: python -m benchmarks.flat_step

The bare loops do the same arithmetic: GSAM's two passes, and T student steps unrolled with learned
labels, by autograd through all of them. Batches and augmentations are drawn before, there.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import repeat
from pathlib import Path

import torch
import torch.nn.functional as F
from ddkit_tesla.objective import TeslaObjective
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.teddy_step import ddkit_steps
from benchmarks.writing import write
from ddkit import networks
from ddkit.data.augmentation.dsa import apply_dsa
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage
from ddkit.training.loop import ENDLESS, fit
from ddkit.training.recipe import Recipe

CASES = {  # network, image side, batch of an expert, images of a set, T
    "ConvNet-2 ×24, 14 px": ("convnet:depth=2:width=24", 14, 256, 100, 20),
    "ConvNet-3 ×64, 32 px": ("convnet:depth=3:width=64", 32, 64, 20, 10),
}
COUNT = 12
RATE, SHARPNESS, SURROGATE = 0.01, 0.01, 1.0
Step = Callable[[int], object]


def expert(network: nn.Module, inputs: Tensor, labels: Tensor) -> Step:
    """Return a step of the one training loop."""
    recipe = Recipe(
        lr=RATE,
        momentum=0,
        weight_decay=0,
        schedule="constant",
        sharpness=SHARPNESS,
        surrogate=SURROGATE,
    )
    serve = repeat((inputs, labels))
    training = fit(network, lambda epoch: serve, recipe, steps_per_epoch=ENDLESS, seed=0)
    return lambda number: next(training)


def bare_expert(network: nn.Module, inputs: Tensor, labels: Tensor) -> Step:
    """Return the same step, written out."""
    network.train()
    parameters = list(network.parameters())
    optimiser = torch.optim.SGD(parameters, lr=RATE)

    def slopes() -> list[Tensor]:
        optimiser.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        return [parameter.grad for parameter in parameters]

    def norm(tensors: list[Tensor]) -> Tensor:
        return torch.stack(torch._foreach_norm(tensors)).norm()

    def step(number: int) -> None:
        plain = slopes()
        with torch.no_grad():
            weighted = torch._foreach_mul(plain, parameters)
            up = torch._foreach_mul(weighted, parameters)
            torch._foreach_mul_(up, SHARPNESS / (norm(weighted) + 1e-12))
            torch._foreach_add_(parameters, up)
        sharp = slopes()
        with torch.no_grad():
            torch._foreach_sub_(parameters, up)
            inner = torch.stack([(a * b).sum() for a, b in zip(plain, sharp, strict=True)]).sum()
            across = torch._foreach_mul(sharp, inner / norm(sharp) ** 2)
            across = torch._foreach_sub(plain, across)
            torch._foreach_sub_(sharp, torch._foreach_mul(across, SURROGATE))
        optimiser.step()

    return step


def objective_of(case: tuple[str, int, int, int, int], folder: Path) -> TeslaObjective:
    network, side, _, images, steps = case
    settings = [
        "experts=1",
        "train_epochs=2",
        "max_start_epoch=1",
        f"student_steps={steps}",
        f"kept_graphs={steps}",
        "skip_above=1e9",
        "lr_images=1e-6",
        "lr_labels=1e-6",
        "lr_lr=0",
        "together=1",
    ]
    common = {"ipc": images // 10, "network": network, "threads": torch.get_num_threads()}
    data = {"name": "digits", "resize": side}
    run = prepare(resolve(Request("datm", common, data, settings, "none")), folder)
    return TeslaObjective(Stage(run, "synthesis").run, stage_pools.open_pool(run, "synthesis"))


def bare_iteration(objective: TeslaObjective) -> Step:
    """Return an iteration as a loop with one graph of all student steps."""
    run, options = objective.run, objective.options
    shard = objective.shards()[0]
    leaves = {name: leaf.value.clone() for name, leaf in objective.initialise(shard).items()}
    images, rate, logits = (
        leaves[n].requires_grad_() for n in ("images", "learning_rate", "labels")
    )
    optimisers = [
        torch.optim.SGD([leaf], lr=1e-6, momentum=momentum)
        for leaf, momentum in ((images, 0.5), (rate, 0.5), (logits, 0.9))
    ]
    network = run.network(run.generator("student")).eval()
    start, target = (
        objective._parameters(objective.experts[0][epoch]) for epoch in (0, options.expert_epochs)
    )
    drawn = [
        objective._augmented(shard, rows, 0, number).augmentation
        for number, rows in enumerate(objective._batches(shard, 0))
    ]

    def squared(left: list[Tensor], right: list[Tensor]) -> Tensor:
        gaps = torch._foreach_sub(left, right)
        return torch.stack([gap.square().sum() for gap in gaps]).sum()

    def iteration(number: int) -> None:
        student = [tensor.clone().requires_grad_() for tensor in start]
        for augmentation in drawn:
            named = dict(zip(objective.names, student, strict=True))
            seen = functional_call(network, named, (apply_dsa(images, augmentation),))
            loss = F.cross_entropy(seen, logits.softmax(1))
            slopes = torch.autograd.grad(loss, student, create_graph=True)
            student = [own - rate * slope for own, slope in zip(student, slopes, strict=True)]
        for optimiser in optimisers:
            optimiser.zero_grad()
        (squared(student, target) / squared(start, target)).backward()
        for optimiser in optimisers:
            optimiser.step()

    return iteration


def measured(steps: Mapping[str, Step]) -> dict[str, float]:
    """Return the median processor seconds of each, taken in turn; the first is left out."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(COUNT):
        for name, step in steps.items():
            began = time.process_time()
            step(number)
            times[name].append(time.process_time() - began)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def expert_case(case: tuple[str, int, int, int, int]) -> dict[str, float]:
    spec, side, batch, *_ = case
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 1, side, side, generator=generator)
    labels = torch.randint(10, (batch,), generator=generator)
    ours, theirs = (
        networks.create(
            spec, classes=10, shape=(1, side, side), generator=torch.Generator().manual_seed(0)
        )
        for _ in range(2)
    )
    plain = {
        "ddkit": expert(ours, inputs, labels),
        "bare": bare_expert(theirs, inputs, labels),
    }
    found = measured(plain)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
    return found


def iteration_case(case: tuple[str, int, int, int, int], folder: Path) -> dict[str, float]:
    objective = objective_of(case, folder)
    ours = ddkit_steps(objective.run, objective, objective.shards()[0])
    return measured({"ddkit": ours, "bare": bare_iteration(objective)})


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        times = {
            f"{what}, {case}": (
                expert_case(CASES[case])
                if what.startswith("FTD")
                else iteration_case(CASES[case], Path(name) / str(number))
            )
            for what in ("FTD, a step of an expert", "DATM, an iteration")
            for number, case in enumerate(CASES)
        }
    rows = [
        (
            what,
            *(f"{1e3 * found[kind]:.0f} ms" for kind in ("bare", "ddkit")),
            f"{found['ddkit'] / found['bare']:.3f}",
        )
        for what, found in times.items()
    ]
    sizes = "; ".join(
        f"{case}: batches of {batch} for the expert, {images} images and T = {steps} for DATM"
        for case, (_, _, batch, images, steps) in CASES.items()
    )
    write(
        "flat_step",
        {"seconds": times},
        rows,
        ["step", "bare torch", "ddkit", "ddkit / bare"],
        f"Processor time of one thread, medians of {COUNT - 1} steps taken in turn. {sizes}.",
    )


if __name__ == "__main__":
    main()

"""Training steps: APM's students, and experts alone and ten as one batched network."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import repeat

import torch
import torch.nn.functional as F
from ddkit_apm.distances import l1
from torch import Tensor, nn

from benchmarks.device.arithmetics import arithmetics, within
from benchmarks.device.figures import (
    ROUNDS,
    TIMED,
    Bench,
    Figure,
    Row,
    Sides,
    compared,
    smaller,
)
from benchmarks.device.floors import count
from benchmarks.device.timing import Step, bearable, in_turn
from ddkit import networks
from ddkit.arithmetic import Arithmetic
from ddkit.batched import Loss, fit_together
from ddkit.training import Recipe, fit

NETWORK, SHAPE, CLASSES = "convnet:depth=3", (3, 32, 32), 10
RECIPE = Recipe(epochs=1, lr=0.01, schedule="constant")
FOREVER = 10**9  # steps of an epoch that never ends
BATCHES = (8, 16, 32, 64, 128, 256)
TOGETHER = 10
STUDENT = "APM student, a training step, ConvNet-3, 32 px, 100 images"
EXPERT = "expert training, ConvNet-3, 32 px, batches of 256"


def figures(bench: Bench) -> list[Figure]:
    return [
        Figure(STUDENT, partial(student_rows, bench)),
        Figure(EXPERT, partial(expert_rows, bench)),
        Figure(f"{EXPERT}, {TOGETHER} at once", partial(together_rows, bench), share=2.0),
    ]


def student_rows(
    bench: Bench, seconds: float, images: Sequence[int] = (10, 20, 50, 100)
) -> Iterator[Row]:
    """Serve the rows of a step of APM's student, towards logits."""

    def sides(size: int) -> Sides:
        return training_sides(bench.device, *batch(bench.device, size, soft=True), distance)

    return compared(bench, STUDENT, images, sides, seconds)


def expert_rows(bench: Bench, seconds: float, sizes: Sequence[int] = BATCHES) -> Iterator[Row]:
    """Serve the rows of an expert's training step."""

    def sides(size: int) -> Sides:
        return training_sides(bench.device, *batch(bench.device, size), F.cross_entropy)

    return compared(bench, EXPERT, sizes, sides, seconds, unit="images/s")


def together_rows(
    bench: Bench, seconds: float, sizes: Sequence[int] = BATCHES, together: int = TOGETHER
) -> Iterator[Row]:
    """Serve experts as one batched network, beside one after the other, in each arithmetic."""
    device = bench.device
    chosen = arithmetics(device, layouts=False)

    def both(size: int, arithmetic: Arithmetic) -> tuple[Step, Step]:
        inputs, labels = batch(device, size)
        alone = fit_step(network(device), inputs, labels, F.cross_entropy, arithmetic)
        batched = batched_step(device, inputs, labels, together, arithmetic)
        return batched, lambda: [alone() for _ in range(together)]

    def probed(size: int) -> Step:
        batched, alone = both(size, chosen[0])
        return lambda: (batched(), alone())

    size = bearable(sizes, probed, device, seconds / ROUNDS / len(chosen))
    bare = training_sides(device, *batch(device, size), F.cross_entropy).bare
    for number, arithmetic in enumerate(chosen):
        batched, alone = both(size, arithmetic)
        batched(), alone()
        share = TIMED * seconds / len(chosen)
        taken = in_turn({"batched": batched, "alone": alone}, device, share)
        note = f"{taken['alone'] / taken['batched']:.2f} × as fast as one after the other"
        said = [note, *[smaller(size, sizes, "images")] * (not number and size < sizes[-1])]
        one = count(within(arithmetic, device, bare(arithmetic)))  # torch counts no vmap
        moved = together * one.bytes
        floor = bench.floors.of(together * one.flops, moved, arithmetic.precision)
        yield Row(
            f"{EXPERT}, {together} at once", taken["batched"], str(arithmetic), floor, None,
            together * size, "images/s", "; ".join(said),
        )  # fmt: skip


def training_sides(device: torch.device, inputs: Tensor, targets: Tensor, loss: Loss) -> Sides:
    """Return a step of the core's training loop, and of a plain one."""
    return Sides(
        lambda arithmetic: fit_step(network(device), inputs, targets, loss, arithmetic),
        lambda arithmetic: plain_step(network(device), inputs, targets, loss, arithmetic),
    )


def fit_step(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, arithmetic: Arithmetic
) -> Step:
    training = fit(
        model, lambda epoch: repeat((inputs, targets)), RECIPE, steps_per_epoch=FOREVER, seed=0,
        loss=loss, arithmetic=arithmetic,
    )  # fmt: skip
    return lambda: next(training)


def batched_step(
    device: torch.device, inputs: Tensor, labels: Tensor, together: int, arithmetic: Arithmetic
) -> Step:
    """Return a step of several networks at once, each on a copy of the batch."""
    stacked = inputs.expand(together, *inputs.shape).contiguous()
    targets = labels.expand(together, *labels.shape).contiguous()
    training = fit_together(
        [network(device, seed) for seed in range(together)],
        lambda epoch: repeat((stacked, targets)), RECIPE, steps_per_epoch=FOREVER, seed=0,
        arithmetic=arithmetic,
    )  # fmt: skip
    return lambda: next(training)


def plain_step(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, arithmetic: Arithmetic
) -> Step:
    """Return the step in bare torch."""
    model, inputs = arithmetic.laid_out(model).train(), arithmetic.laid_out(inputs)
    optimiser = torch.optim.SGD(
        model.parameters(), RECIPE.lr, RECIPE.momentum, weight_decay=RECIPE.weight_decay
    )

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss(model(inputs).float(), targets).backward()
        optimiser.step()

    return step


def distance(guess: Tensor, target: Tensor) -> Tensor:
    return l1(target, guess).mean()


def network(device: torch.device, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    made = networks.create(NETWORK, classes=CLASSES, shape=SHAPE, generator=generator)
    return made.to(device)


def batch(device: torch.device, size: int, *, soft: bool = False) -> tuple[Tensor, Tensor]:
    """Return made-up network inputs and their classes, or logits."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, *SHAPE, generator=generator).to(device)
    logits = torch.randn(size, CLASSES, generator=generator).to(device)
    return inputs, logits if soft else torch.arange(size, device=device) % CLASSES

"""Training steps: an expert alone, compiled, and ten as one batched network; APM's student."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import repeat

import torch
import torch.nn.functional as F
from ddkit_apm.distances import l1
from torch import Tensor, nn

from benchmarks.device.arithmetics import arithmetics, within
from benchmarks.device.figures.comparing import TIMED, Sides, compared, floors, line_of
from benchmarks.device.floors import count
from benchmarks.device.parts import Bench, Item, Line
from benchmarks.device.timing import Step, in_turn
from ddkit import networks
from ddkit.runtime.arithmetic import Arithmetic, usual
from ddkit.runtime.timing import wait_for
from ddkit.training.loop import fit
from ddkit.training.recipe import Recipe
from ddkit.training.stacked import Loss, fit_together

SHAPE, CLASSES = (3, 32, 32), 10
RECIPE = Recipe(epochs=1, lr=0.01, schedule="constant")
FOREVER = 10**9  # steps of an epoch that never ends
TOGETHER = 10
COMPILED_BY = 4  # steps that compile, and record CUDA graphs


def expert_lines(bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve the lines of an expert's training step, and of many images APM's student's."""
    yield from compared(bench, title(bench, "expert, a training step"), sides(bench), seconds)


def student_lines(bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve the lines of a step of APM's student, towards logits."""
    size = images(bench, 100)
    inputs, _ = batch(bench, size)
    towards = torch.randn(size, CLASSES, generator=torch.Generator().manual_seed(1))
    both = sides_of(
        bench, inputs, towards.to(bench.device), lambda ours, theirs: l1(theirs, ours).mean()
    )
    yield from compared(bench, title(bench, "APM student, a training step", 100), both, seconds)


def compiled_lines(bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve the line of an expert's compiled step, beside bare torch, which is not."""
    arithmetic = replace(usual(bench.device), compiled=True)
    began = time.perf_counter()
    ours = sides(bench).ours(arithmetic)
    for _ in range(COMPILED_BY):
        ours()
    wait_for(bench.device)
    note = f"compiled in {time.perf_counter() - began:.0f} s"
    bare = within(arithmetic, bench.device, sides(bench).bare(arithmetic))
    counted = count(bare)
    taken = in_turn({"ours": ours, "bare": bare}, bench, TIMED * seconds)
    floor = floors(bench).of(counted.flops, counted.bytes, arithmetic.precision)
    name = title(bench, "expert, a training step")
    yield line_of(name, arithmetic, taken["ours"], taken["bare"], floor, note)


def together_lines(bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve experts as one batched network, beside one after the other, in each arithmetic."""
    inputs, labels = batch(bench, images(bench, 256))
    chosen = arithmetics(bench.device, layouts=False)
    for arithmetic in chosen:
        alone = sides(bench).ours(arithmetic)
        batched = batched_step(bench, inputs, labels, TOGETHER, arithmetic)
        batched(), alone()
        taken = in_turn({"batched": batched, "alone": alone}, bench, TIMED * seconds / len(chosen))
        ratio = TOGETHER * taken["alone"].wall / taken["batched"].wall
        note = f"{ratio:.2f} × as fast as one after the other"
        name = title(bench, f"{TOGETHER} experts at once, a training step")
        yield line_of(name, arithmetic, taken["batched"], note=note)


def sides(bench: Bench) -> Sides:
    return sides_of(bench, *batch(bench, images(bench, 256)), F.cross_entropy)


def sides_of(bench: Bench, inputs: Tensor, targets: Tensor, loss: Loss) -> Sides:
    """Return a step of the core's training loop, and of a plain one."""

    def ours(arithmetic: Arithmetic) -> Step:
        training = fit(
            network(bench),
            lambda epoch: repeat((inputs, targets)),
            RECIPE,
            steps_per_epoch=FOREVER,
            seed=0,
            loss=loss,
            arithmetic=arithmetic,
        )
        return lambda: next(training)

    return Sides(ours, partial(plain_step, network(bench), inputs, targets, loss))


def batched_step(
    bench: Bench, inputs: Tensor, labels: Tensor, together: int, arithmetic: Arithmetic
) -> Step:
    """Return a step of several networks at once, each on a copy of the batch."""
    stacked = inputs.expand(together, *inputs.shape).contiguous()
    targets = labels.expand(together, *labels.shape).contiguous()
    training = fit_together(
        [network(bench, seed) for seed in range(together)],
        lambda epoch: repeat((stacked, targets)),
        RECIPE,
        steps_per_epoch=FOREVER,
        seed=0,
        arithmetic=arithmetic,
    )
    return lambda: next(training)


def plain_step(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, arithmetic: Arithmetic
) -> Step:
    """Return the step in bare torch."""
    model, inputs = arithmetic.laid_out(model).train(), arithmetic.laid_out(inputs)
    optimiser = plain_optimiser(model)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss(model(inputs).float(), targets).backward()
        optimiser.step()

    return step


def plain_optimiser(model: nn.Module) -> torch.optim.Optimizer:
    """Return torch's own optimiser, one kernel on CUDA as ddkit's is."""
    parameters = list(model.parameters())
    return torch.optim.SGD(
        parameters,
        RECIPE.lr,
        RECIPE.momentum,
        weight_decay=RECIPE.weight_decay,
        fused=parameters[0].is_cuda or None,
    )


def network(bench: Bench, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    made = networks.create(spec(bench), classes=CLASSES, shape=SHAPE, generator=generator)
    return made.to(bench.device)


def batch(bench: Bench, size: int) -> tuple[Tensor, Tensor]:
    """Return made-up network inputs and their classes."""
    inputs = torch.randn(size, *SHAPE, generator=torch.Generator().manual_seed(0))
    return inputs.to(bench.device), torch.arange(size, device=bench.device) % CLASSES


def spec(bench: Bench, norm: str = "") -> str:
    """Return the network of all figures: ConvNet-3, as wide as the bench precisions."""
    return f"convnet:depth=3:width={16 if bench.small else 128}{norm}"


def images(bench: Bench, count: int) -> int:
    """Return how many images stand for so many: a tenth where all is small."""
    return max(10, count // 10) if bench.small else count


def title(bench: Bench, what: str, count: int = 256) -> str:
    width = ", width 16" * bench.small
    return f"{what}, ConvNet-3{width}, 32 px, {images(bench, count)} images"


ITEMS = (
    Item("expert, eager", expert_lines, 6, "5 arithmetics, blocks of 15 ms"),
    Item("expert, compiled", compiled_lines, 15, "compiled before by the checks; else 40 s"),
    Item("experts at once", together_lines, 6, "3 arithmetics, blocks of 150 ms"),
    Item("APM student", student_lines, 3, "5 arithmetics, blocks of 10 ms"),
)

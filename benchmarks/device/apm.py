"""APM's update: Eq. 4 and its gradient over the K checkpoints of a student."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from ddkit_apm.distances import l1
from ddkit_apm.matching import EPSILON, prediction_matching
from ddkit_apm.objective import ApmObjective
from ddkit_apm.students import as_function
from torch import nn

from benchmarks.device.figures import Bench, Figure, Row, Sides, compared
from benchmarks.device.timing import Step
from benchmarks.device.training import batch, network
from ddkit.arithmetic import Arithmetic

CHECKPOINTS, ALPHA = 5, 0.1
TITLE = f"APM update (Eq. 4), ConvNet-3, 32 px, 100 images, K = {CHECKPOINTS}"


def figures(bench: Bench) -> list[Figure]:
    return [Figure(TITLE, partial(update_rows, bench))]


def update_rows(
    bench: Bench, seconds: float, images: Sequence[int] = (10, 20, 50, 100)
) -> Iterator[Row]:
    return compared(
        bench, TITLE, images, partial(sides, bench.device), seconds, bears=ApmObjective.bears,
        layouts=False,
    )  # fmt: skip


def sides(device: torch.device, images: int) -> Sides:
    inputs, classes = batch(device, images)
    teacher, *students = (frozen(device, seed) for seed in range(1 + CHECKPOINTS))
    skeleton = frozen(device, 0)
    functions = [as_function(skeleton, student.state_dict()) for student in students]

    def ours(arithmetic: Arithmetic) -> Step:
        def step() -> object:
            with arithmetic.rounding(device):
                return prediction_matching(inputs, classes, teacher, functions, l1, alpha=ALPHA)

        return step

    def bare(arithmetic: Arithmetic) -> Step:
        def step() -> object:
            seen = inputs.clone().requires_grad_()
            target = teacher(seen)
            loss = ALPHA * F.cross_entropy(target, classes)
            for student in students:
                loss = loss - (l1(target, student(seen)) + EPSILON).log().mean()
            return torch.autograd.grad(loss, seen)

        return step

    return Sides(ours, bare)


def frozen(device: torch.device, seed: int) -> nn.Module:
    return network(device, seed).eval().requires_grad_(False)

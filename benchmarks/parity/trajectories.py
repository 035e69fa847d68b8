"""TESLA and MTT: T steps of a student between two points of an expert's way, and the gradients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from ddkit_tesla.matching import Batch, match
from ddkit_tesla.students import as_function
from torch import Tensor, nn

from benchmarks.parity.foreign import Checkout, Lines, Repository
from benchmarks.parity.inputs import Inputs, default, twin
from benchmarks.parity.rows import Row, apart, compared

FILES = ("distill.py", "networks.py", "reparam_module.py", "utils.py")
TESLA = Repository("justincui03/tesla", ("requirements.yaml", *FILES))
MTT = Repository("GeorgeCazenavette/mtt-distillation", ("requirements_11_3.yaml", *FILES))
STEPS = (10, 20)
RATE = 0.02
IPC = 5  # where time is measured
FEW, DRAWS = 1, 5  # where only gradients are compared, each on other images

Gradients = tuple[Tensor, Tensor]  # of images and β


@dataclass(frozen=True)
class Problem:
    """One matching, for either side; students see all images in each step, without DSA.

    Attributes:
        start: where on the expert's way, 0 or 1.
        first: image of each class, so that others can be taken.
    """

    inputs: Inputs
    steps: int
    ipc: int
    start: int = 1
    dtype: torch.dtype = torch.float32
    first: int = 0

    @cached_property
    def network(self) -> nn.Module:
        return self.inputs.network(0).to(self.dtype)

    @cached_property
    def images(self) -> Tensor:
        return self.inputs.images(self.ipc, self.first)[0].to(self.dtype)

    @cached_property
    def labels(self) -> Tensor:
        return self.inputs.images(self.ipc, self.first)[1]

    @cached_property
    def way(self) -> list[list[Tensor]]:
        """The parameters at the start and at the target."""
        stretch = self.inputs.expert[self.start : self.start + 2]
        return [[tensor.to(self.dtype) for tensor in point] for point in stretch]

    def ours(self, gradient: str, kept_graphs: int = 0) -> Callable[[], Gradients]:
        """Return what computes ddkit's gradients, exact or as the paper has them."""
        student, rate = as_function(self.network), torch.tensor(RATE, dtype=self.dtype)
        batches = [Batch(torch.arange(len(self.images)))] * self.steps

        def work() -> Gradients:
            found = match(
                student,
                *self.way,
                batches,
                self.images,
                self.labels,
                rate,
                gradient=gradient,  # type: ignore[arg-type]
                kept_graphs=kept_graphs,
            )
            return found.images, found.learning_rate

        return work

    def theirs(self, checkout: Checkout, lines: Lines) -> Callable[[], Gradients]:
        """Return what runs the lines of a distill.py, and the backward pass where there is one."""
        student = checkout.module("reparam_module.py").ReparamModule(
            twin(checkout.module("networks.py"), self.network)
        )
        args = SimpleNamespace(
            device="cpu",
            expert_epochs=1,
            syn_steps=self.steps,
            batch_syn=len(self.images),
            dsa=False,
            no_aug=True,
            texture=False,
            distributed=False,
            random_trajectory=False,
            teacher_label=False,
        )

        def work() -> Gradients:
            images = self.images.clone().requires_grad_()
            rate = torch.tensor(RATE, dtype=self.dtype, requires_grad=True)
            with default(self.dtype):
                names: dict[str, Any] = lines.run(
                    args=args,
                    image_syn=images,
                    label_syn=self.labels,
                    syn_lr=rate,
                    student_net=student,
                    num_params=student.param_numel,
                    expert_trajectory=self.way,
                    start_epoch=0,
                    criterion=nn.CrossEntropyLoss(),
                )
                if images.grad is None:
                    names["grand_loss"].backward()
            assert images.grad is not None
            assert rate.grad is not None
            return images.grad, rate.grad

        return work


def differences(found: Gradients, reference: Gradients) -> list[float]:
    return [apart(a.double(), b.double()) for a, b in zip(found, reference, strict=True)]


def said(values: Sequence[float]) -> str:
    return f"{min(values):.1g} to {max(values):.1g}"


def worst(values: Sequence[float]) -> str:
    return f"{max(values):.0e}"


def tesla_rows(checkout: Checkout, inputs: Inputs) -> Iterator[Row]:
    """Compare Eq. 5, and what the released code makes of it, with the true gradient."""
    lines = checkout.lines("distill.py", ("main", "it"), "starting_params", "syn_lr.grad")
    off = []
    for steps in STEPS:
        for start in (0, 1):
            double = Problem(inputs, steps, FEW, start, torch.float64)
            images, rate = double.theirs(checkout, lines)()
            off.append(differences((2 * images, rate), double.ours("exact")()))
        gaps = differences((2 * images, rate), double.ours("paper")())
        problem = Problem(inputs, steps, IPC)
        ours = [problem.ours(gradient) for gradient in ("paper", "exact")]
        pairs = compared(inputs.seconds, problem.theirs(checkout, lines), *ours)
        agreement = (
            f"{gaps[0]:.0e} from 2 × released (images), {gaps[1]:.0e} from released (β), in float64"
        )
        what = f"T = {steps}, {IPC * inputs.classes} images"
        yield Row(
            f"TESLA, `gradient=paper`, {what}",
            [lines.where],
            agreement,
            pairs[0],
            {"float64": gaps},
        )
        yield Row(
            f"TESLA, `gradient=exact`, beside released TESLA, {what}",
            [lines.where],
            "another gradient (last row of TESLA)",
            pairs[1],
        )
    yield Row(
        "released TESLA against the true gradient, T = 10 and 20, two segments each",
        [lines.where],
        f"2 × its images' off by {said([gap[0] for gap in off])} of it, "
        f"β's by {said([gap[1] for gap in off])}, with {FEW * inputs.classes} images",
        figures={"images and β": off},
    )


def mtt_rows(checkout: Checkout, inputs: Inputs) -> Iterator[Row]:
    """Compare the exact gradient, one graph at a time, with the unroll of all T steps."""
    lines = checkout.lines("distill.py", ("main", "it"), "starting_params", "grand_loss")
    for steps in STEPS:
        gaps, rounding, further = [], [], []
        for first in range(0, DRAWS * FEW, FEW):
            true, single = (
                Problem(inputs, steps, FEW, dtype=dtype, first=first)
                for dtype in (torch.float64, torch.float32)
            )
            reference, ours32 = true.ours("exact")(), single.ours("exact")()
            gaps.append(differences(true.theirs(checkout, lines)(), reference))
            theirs32 = single.theirs(checkout, lines)()
            rounding.append([differences(each, reference)[0] for each in (theirs32, ours32)])
            further += differences(single.ours("exact", steps)(), ours32)
        problem = Problem(inputs, steps, IPC)
        ours = [problem.ours("exact", kept) for kept in (0, steps)]
        pairs = compared(inputs.seconds, problem.theirs(checkout, lines), *ours)
        what = f"T = {steps}, {IPC * inputs.classes} images"
        yield Row(
            f"TESLA, `gradient=exact`, beside MTT's unroll, {what}",
            [lines.where],
            "{} (images), {} (β) in float64; in float32, on {} sets of images, theirs {} and ours "
            "{} from float64 (the most where rounding turns a ReLU)".format(
                *map(worst, zip(*gaps, strict=True)), DRAWS, *map(said, zip(*rounding, strict=True))
            ),
            pairs[0],
            {"float64": gaps, "float32 of both": rounding},
        )
        yield Row(
            f"the same with `kept_graphs={steps}`",
            [lines.where],
            f"{max(further):.0e} from the gradient without, in float32",
            pairs[1],
            {"float32": further},
        )

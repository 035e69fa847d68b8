"""The segment that a memory budget allows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddkit import DdkitError, Run
from ddkit.budget import largest_fitting, readable
from ddkit.memory import PeakMemory
from ddkit_apm.distances import DISTANCES
from ddkit_apm.matching import Logits, prediction_matching
from ddkit_apm.options import ApmOptions

TRAINING_COPIES = 3  # a student, its gradient, its momentum


def fitting_segment(
    run: Run, skeleton: nn.Module, inputs: Tensor, classes: Tensor, teacher: Logits,
    students: Sequence[Logits],
) -> int:  # fmt: skip
    """Return the segment that was asked for, or the largest that keeps to the run's budget.

    Counted are the teacher and K checkpoints, the mini-batch and its gradient, and what is live in
    the update; training a student must fit as well, whatever the segment.

    Raises:
        DdkitError: the segment, or not even one of 1 image, or the student's training does not fit.
    """
    options: ApmOptions = run.options
    budget: int = run.config.memory_budget or 0
    weights = sum(tensor.nbytes for tensor in skeleton.state_dict().values())
    fixed = (1 + options.checkpoints) * weights + inputs.nbytes

    def peak(segment: int) -> int:
        """Measure two segments: of the first, its gradients are still there."""
        measured = inputs[: 2 * segment]
        rest = inputs.nbytes - measured.nbytes  # of the gradient of the mini-batch
        with PeakMemory(run.device) as memory:
            prediction_matching(
                measured, classes[: 2 * segment], teacher, students[:1],
                DISTANCES[options.distance], segment=segment,
            )  # fmt: skip
        return int(fixed + rest + memory.peak)

    segment = options.segment or largest_fitting(peak, budget, len(inputs), "a segment")
    if options.segment and (needed := peak(segment)) > budget:
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small for segment={segment}, which needs "
            f"{readable(needed)}: lower it, or leave it out"
        )
    batch = min(options.student_batch, len(inputs))
    training = fixed + TRAINING_COPIES * weights + training_peak(run, inputs[:batch])
    if training > budget:
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small: training a student with batches of "
            f"{batch} images needs {readable(training)}; lower student_batch"
        )
    run.progress.note(f"segments of {segment} images keep to {readable(budget)}")
    return segment


def training_peak(run: Run, inputs: Tensor) -> int:
    """Return the peak bytes of one forward and backward pass of a student, without its weights."""
    network = run.network(run.generator("student to measure"))
    with PeakMemory(run.device) as memory:
        logits = network(inputs)
        torch.autograd.grad(logits.abs().mean(), list(network.parameters()))
    return memory.peak

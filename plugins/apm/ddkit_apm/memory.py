"""The segment that a memory budget allows."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ddkit import (
    DdkitError,
    Run,
    Silent,
    check_requested,
    group_shards,
    largest_fitting,
    peak_of,
    readable,
    untrained_network,
    weights_of,
)
from ddkit_apm.distances import DISTANCES
from ddkit_apm.matching import Logits, prediction_matching
from ddkit_apm.options import ApmOptions

TRAINING_COPIES = 3  # a student, its gradient, its momentum


def check_budget(run: Run) -> None:
    """Raise `DdkitError` where a run's budget is too small, before a teacher is trained.

    Memory does not depend on what weights are: untrained networks need as much.
    """
    if run.config.memory_budget is None:
        return
    options: ApmOptions = run.options
    largest = group_shards(run, run.config.groups)[0]
    size = min(options.batch_syn or len(largest), len(largest))
    inputs = torch.zeros(size, *run.shape, device=run.device)
    classes = torch.zeros(size, dtype=torch.int64, device=run.device)
    network = untrained_network(run)
    dense = options.dense_momentum and size < len(largest)
    whole = len(largest) * inputs[0].nbytes if dense else inputs.nbytes
    silent = replace(run, progress=Silent())
    fitting_segment(silent, network, network, inputs, classes, whole, [network])


def fitting_segment(
    run: Run,
    teacher: nn.Module,
    skeleton: nn.Module,
    inputs: Tensor,
    classes: Tensor,
    leaf: int,
    students: Sequence[Logits],
) -> int:
    """Return the segment that was asked for, or the largest that keeps to the run's budget.

    Counted are the teacher, the students' skeleton and K checkpoints, the images on the device with
    gradient and momentum, and what is live in the update; training a student must fit as well,
    whatever the segment.

    Args:
        leaf: bytes of the images that the step differentiates: the mini-batch, or with
            `dense_momentum` the whole set.

    Raises:
        DdkitError: the segment, or not even one of 1 image, or the student's training does not fit.
    """
    options: ApmOptions = run.options
    budget: int = run.config.memory_budget or 0
    weights = weights_of(skeleton)
    networks = weights_of(teacher) + (1 + options.checkpoints) * weights
    apart = leaf + inputs.nbytes if leaf > inputs.nbytes else 0  # its gradient, a copy of rows
    fixed = networks + leaf + apart + (leaf if options.momentum else 0)

    def peak(segment: int) -> int:
        """Measure two segments: of the first, its gradients are still there."""
        measured = inputs[: 2 * segment]
        rest = inputs.nbytes - measured.nbytes  # of the gradient of the mini-batch
        update = partial(
            prediction_matching,
            measured,
            classes[: 2 * segment],
            teacher,
            students[:1],
            DISTANCES[options.distance],
            segment=segment,
        )
        return int(fixed + rest + peak_of(update, run.device))

    if options.segment:
        segment = options.segment
        check_requested("segment", segment, peak, budget)
    else:
        segment = largest_fitting(peak, budget, len(inputs), "a segment")
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

    def train() -> None:
        logits = network(inputs)
        torch.autograd.grad(logits.abs().mean(), list(network.parameters()))

    return peak_of(train, run.device)

"""The students of a round: one network trained towards a teacher's logits, kept K times."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ddkit import (
    Batches,
    Run,
    apply_dsa,
    batch_count,
    batches_of,
    derive,
    draw_dsa,
    fit,
    generator,
    sent,
)
from ddkit_apm.distances import DISTANCES
from ddkit_apm.matching import checkpoint_epochs
from ddkit_apm.options import ApmOptions

State = dict[str, Tensor]


def train_student(
    run: Run, network: nn.Module, inputs: Tensor, logits: Tensor, seed: int
) -> list[State]:
    """Train `network` in place towards a teacher's logits; return its K checkpoints.

    Args:
        run: of the synthesis stage, with APM's options.
        inputs: (B, channels, H, W), the mini-batch as network inputs.
        logits: (B, classes) of the teacher for these inputs, constants.
        seed: of the order of the images and of their augmentation.
    """
    options: ApmOptions = run.options
    distance = DISTANCES[options.distance]
    size = min(options.student_batch, len(inputs))

    def batches(epoch: int) -> Batches:
        order = torch.randperm(len(inputs), generator=generator(seed, "order", epoch))
        for number, rows in enumerate(batches_of(sent(order, inputs.device), size)):
            seen = inputs[rows]
            if options.student_augmentation == "dsa":
                draws = generator(seed, "dsa", epoch, number)
                shape = (seen.shape[-2], seen.shape[-1])
                seen = apply_dsa(seen, draw_dsa(len(seen), shape, draws, flip=run.train.mirror))
            yield seen, logits[rows]

    wanted = set(checkpoint_epochs(options.student_epochs, options.checkpoints))
    kept = []
    for position in fit(
        network,
        batches,
        options.student_recipe(options.student_epochs),
        steps_per_epoch=batch_count(len(inputs), size),
        seed=derive(seed, "student"),
        loss=lambda guess, target: distance(target, guess).mean(),
        last_look=False,
    ):
        if position.epoch_ends and position.epoch in wanted:
            kept.append({name: t.detach().clone() for name, t in network.state_dict().items()})
    return kept


def as_function(skeleton: nn.Module, state: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """Return inputs → logits of a checkpoint, frozen; `skeleton` is its architecture, in eval."""
    return partial(_call, skeleton, dict(state))


def _call(skeleton: nn.Module, state: State, inputs: Tensor) -> Tensor:
    logits: Tensor = torch.func.functional_call(skeleton, state, (inputs,))
    return logits

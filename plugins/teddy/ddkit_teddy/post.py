"""The post pool: pruned copies of one trained model, each fine-tuned a little."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ddkit import (
    Member,
    MemberTask,
    Recipe,
    Run,
    TaskContext,
    batch_count,
    create_network,
    derive,
    fit,
)
from ddkit_teddy.given import given_network
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.prior import Trajectory, member_of
from ddkit_teddy.pruning import prune, ratio_for


def tasks(run: Run) -> list[MemberTask]:
    """Return the base model's task and one for each pruned member."""
    options: TeddyOptions = run.options
    if options.base is None:
        snapshot = options.model_copy(update={"first": options.last, "every": 1})
        base = Trajectory(replace(run, options=snapshot)).task(role="base")
    else:
        base = MemberTask("base", lambda context: own_base(run))
    ratio = cache(lambda: pruning_ratio(run))
    pruned = [
        MemberTask(f"pruned-{number:03d}", _pruned(run, number, base.name, ratio), (base.name,))
        for number in range(options.members)
    ]
    return [base, *pruned]


def pruning_ratio(run: Run) -> float:
    """Return the share of channels to cut: as it is set, or found for the share to be left."""
    options: TeddyOptions = run.options
    if options.prune_to_parameters is None and options.prune_to_macs is None:
        return options.prune_ratio
    return ratio_for(
        lambda: _network(run),
        len(run.classes),
        run.shape,
        parameters=options.prune_to_parameters,
        macs=options.prune_to_macs,
    )


def own_base(run: Run) -> Iterator[tuple[int, Member]]:
    """Yield the user's own trained network; raises `DdkitError` where it does not fit."""
    network = given_network(run, None, Path(run.options.base))
    yield 0, member_of(run, network, "base", 0, 0)


def _pruned(
    run: Run, number: int, base: str, ratio: Callable[[], float]
) -> Callable[[TaskContext], Iterator[tuple[int, Member]]]:
    """Return the task of one pruned member: cut a copy of the base, fine-tune it, yield it."""

    def train(context: TaskContext) -> Iterator[tuple[int, Member]]:
        index = next(i for i, member in enumerate(context.pool.members) if member.task == base)
        network = _network(run)
        network.load_state_dict(context.pool.state(index))
        generator = run.generator("pruning", number)
        history = prune(network.eval(), ratio(), len(run.classes), run.shape, generator)
        network = copy.deepcopy(network).to(run.device)  # without pruning's graph
        steps = fine_tune(run, network, number, context.checkpoint)
        yield 0, member_of(run, network, "pruned", steps, 0, pruning=history)

    return train


def fine_tune(run: Run, network: nn.Module, number: int, checkpoint: Path) -> int:
    """Fine-tune member `number` in place and return the steps taken.

    Member 0 gets none, the last one `finetune_epochs`, evenly between: so the pool covers a range
    of accuracies, as the paper "simulates the accuracy curve" of a trajectory. The learning rate
    falls geometrically over the longest fine-tuning; a shorter one stops on the way.
    """
    options: TeddyOptions = run.options
    per_epoch = batch_count(len(run.train), options.finetune_batch)
    longest = round(options.finetune_epochs * per_epoch)
    wanted = round(longest * number / max(options.members - 1, 1))
    if wanted == 0:
        return 0
    fall = options.finetune_last_lr / options.finetune_lr
    recipe = Recipe(
        epochs=-(-longest // per_epoch),
        batch_size=options.finetune_batch,
        lr=options.finetune_lr,
        momentum=0.9,
        weight_decay=1e-4,
        schedule=f"exponential:{fall:g}",
    )

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        return run.resident.batches(
            recipe.batch_size,
            run.generator("fine-tuning batches", number, epoch),
            augmentation=options.train_augmentation,
        )

    title = f"pool: pruned {number + 1} of {options.members}"
    done = 0
    with run.progress.task(title, wanted) as bar:
        for position in fit(
            network,
            batches,
            recipe,
            steps_per_epoch=per_epoch,
            seed=derive(run.config.seed, "fine-tuning", number),
            checkpoint=checkpoint,
        ):
            bar.advance(position.step - done)
            done = position.step
            if position.step == wanted:
                break
    return wanted


def _network(run: Run) -> nn.Module:
    """Return the architecture on the CPU; its weights are to be loaded."""
    return create_network(
        run.config.network, classes=len(run.classes), shape=run.shape, generator=torch.Generator()
    )

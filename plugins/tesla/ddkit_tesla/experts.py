"""The experts: networks trained on real data, with their parameters after every epoch (MTT)."""

import torch

from ddkit import DdkitError, Pool, RealTraining, Run
from ddkit_tesla.options import TeslaOptions

ROLE = "expert"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def experts(run: Run) -> RealTraining:
    """Return the trajectories that the resolved options ask for; each epoch is a member."""
    options: TeslaOptions = run.options
    return RealTraining(
        run,
        ROLE,
        options.experts,
        options.recipe,
        range(options.train_epochs + 1),
        options.train_augmentation,
        options.together,
        DTYPES[options.expert_dtype],
    )


def trajectories(pool: Pool) -> list[list[int]]:
    """Return, for each expert, the indices of its pool members by epoch, from 0 on.

    Raises:
        DdkitError: the pool has no experts, or not every epoch of one.
    """
    found: dict[str, dict[int, int]] = {}
    for index in pool.with_role(ROLE):
        member = pool.members[index]
        found.setdefault(member.task, {})[member.epoch] = index
    if not found:
        raise DdkitError(
            "TESLA needs a pool of expert trajectories, but this one has none: name another one "
            "(--pool, --pool-from), train them, or import some with `ddkit pool import`"
        )
    for task, epochs in found.items():
        if sorted(epochs) != list(range(len(epochs))):
            raise DdkitError(f"the pool lacks epochs of '{task}': train or import it again")
    return [[epochs[epoch] for epoch in range(len(epochs))] for epochs in found.values()]


def last_members(experts: list[list[int]], count: int = 0) -> list[int]:
    """Return the members of the last epoch of the first `count` trajectories; 0: of all."""
    return [expert[-1] for expert in experts[: count or None]]


def check_epochs(options: TeslaOptions, epochs: int) -> None:
    """Raise `DdkitError` where matching or labelling goes beyond experts of `epochs` epochs."""
    start = options.max_start_epoch - 1
    last = start + options.expert_epochs
    if last > epochs:
        raise DdkitError(
            f"max_start_epoch={start + 1} and expert_epochs={options.expert_epochs} need epoch "
            f"{last} (from {start} on), but the experts have {epochs}: lower one of the two, or "
            "use longer trajectories (train_epochs, where they are trained)"
        )
    if options.teacher_epoch > epochs:
        raise DdkitError(
            f"teacher_epoch={options.teacher_epoch} is beyond the experts' last epoch, {epochs}"
        )

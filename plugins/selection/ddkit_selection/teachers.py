"""The networks that features come from: trained on all real data, one checkpoint each."""

from ddkit import DdkitError, Pool, RealTraining, Recipe, Run
from ddkit_selection.options import ROLE, SelectionOptions


def teachers(run: Run) -> RealTraining:
    """Return the networks that the resolved options ask for."""
    options: SelectionOptions = run.options
    recipe = Recipe(
        epochs=options.train_epochs,
        batch_size=options.train_batch,
        optimiser="sgd",
        lr=options.train_lr,
        momentum=options.train_momentum,
        weight_decay=options.train_decay,
        schedule=options.train_schedule,
    )
    return RealTraining(
        run, ROLE, options.teachers, recipe, (options.train_epochs,), options.train_augmentation
    )


def members(pool: Pool, count: int) -> list[int]:
    """Return the indices of the last `count` teachers of a pool, which a trajectory trained most.

    Raises `DdkitError` where it has fewer.
    """
    found = pool.with_role(ROLE)
    if len(found) < count:
        roles = ", ".join(sorted({member.role for member in pool.members})) or "none"
        raise DdkitError(
            f"features of networks need {count} of the role {ROLE} (option 'teachers'), and the "
            f"pool has {len(found)} (its members are {roles}): name another one (--pool, "
            "--pool-from), leave it out, or --set features=pixels"
        )
    return found[-count:]

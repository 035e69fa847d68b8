"""The networks that features come from: trained on all real data, one checkpoint each."""

from ddkit import DdkitError, Pool, RealTraining, Run
from ddkit_selection.options import ROLE, SelectionOptions


def teachers(run: Run) -> RealTraining:
    """Return the networks that the resolved options ask for."""
    options: SelectionOptions = run.options
    return RealTraining(
        run,
        ROLE,
        options.teachers,
        options.recipe,
        (options.train_epochs,),
        options.train_augmentation,
    )


def members(pool: Pool, count: int) -> list[int]:
    """Return the indices of the last `count` teachers of a pool, which a trajectory trained most.

    Raises `DdkitError` where it has fewer.
    """
    found = pool.with_role(ROLE)
    if len(found) < count:
        roles = ", ".join(sorted({member.role for member in pool.members})) or "none"
        raise DdkitError(
            f"features of networks need {count} of the role {ROLE} (option 'teachers'), but the "
            f"pool has {len(found)} (its members are {roles}): name another one (--pool, "
            "--pool-from), leave it out, or --set features=pixels"
        )
    return found[-count:]

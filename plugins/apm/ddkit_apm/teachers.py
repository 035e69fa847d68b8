"""The teachers: networks trained on real data until they have converged, one checkpoint each."""

from ddkit import DdkitError, Pool, RealTraining, Run
from ddkit_apm.options import ApmOptions

ROLE = "teacher"


def teachers(run: Run) -> RealTraining:
    """Return the teachers that the resolved options ask for; none is chosen among many."""
    options: ApmOptions = run.options
    return RealTraining(
        run,
        ROLE,
        options.teachers,
        options.recipe,
        (options.train_epochs,),
        options.train_augmentation,
        options.together,
    )


def members(pool: Pool) -> list[int]:
    """Return the indices of a pool's teachers; raises `DdkitError` where it has none."""
    found = pool.with_role(ROLE)
    if not found:
        raise DdkitError(
            "APM needs a pool of teachers, but this one has none (its members are "
            f"{', '.join(sorted({member.role for member in pool.members})) or 'none'}): name "
            "another one (--pool, --pool-from), or train them"
        )
    return found

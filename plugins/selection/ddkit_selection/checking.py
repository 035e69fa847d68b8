"""What is wrong with a selection before networks are trained for it."""

from ddkit import DdkitError, Run, check_patches
from ddkit_selection.features import check_network
from ddkit_selection.memory import check_budget
from ddkit_selection.options import ROLE


def check_run(run: Run) -> None:
    """Refuse another start than real images, pools without teachers, and small budgets."""
    if run.config.init != "real":
        raise DdkitError(
            f"--init {run.config.init}: the method '{run.config.method}' chooses the real images "
            "itself: leave --init out"
        )
    if run.config.short_classes == "noise":
        raise DdkitError("--short-classes noise: noise cannot be selected; repeat images instead")
    if run.options.features == "network":
        if run.options.rule == "rded":
            check_patches(run)
        else:
            check_network(run)
        _check_source(run)
    if run.config.memory_budget is not None:
        check_budget(run)


def _check_source(run: Run) -> None:
    """Raise `DdkitError` where the pool will have no teacher; of a named one the objective does."""
    provided = run.pool_options.provides
    if provided and ROLE not in provided:
        source = run.config.pool_stage("synthesis").plugin
        raise DdkitError(
            f"features of networks need members of the role {ROLE}, but the pool of '{source}' "
            f"has {' and '.join(provided)}: name another --pool-from, leave it out, or --set "
            "features=pixels"
        )

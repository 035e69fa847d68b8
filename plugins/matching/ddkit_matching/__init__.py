"""Matching of gradients (DC, DSA) or of distributions (DM) between real and synthetic images."""

from ddkit import MethodOptions, Objective, Pool, Run, hookimpl
from ddkit_matching.checking import check_run
from ddkit_matching.objective import MatchingObjective
from ddkit_matching.options import MatchingOptions


@hookimpl
def method_config() -> type[MethodOptions]:
    return MatchingOptions


@hookimpl
def check(run: Run) -> None:
    check_run(run)


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return MatchingObjective(run)

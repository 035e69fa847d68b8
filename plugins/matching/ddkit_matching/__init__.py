"""Matching of gradients (DC, DSA, IDC) or of distributions (DM, IDM, NCFM) of real images."""

from collections.abc import Sequence

from ddkit import MemberTask, MethodOptions, Objective, Pool, Run, hookimpl
from ddkit_matching.checking import check_run
from ddkit_matching.objective import MatchingObjective
from ddkit_matching.options import MatchingOptions
from ddkit_matching.pool import tasks


@hookimpl
def method_config() -> type[MethodOptions]:
    return MatchingOptions


@hookimpl
def check(run: Run) -> None:
    check_run(run)


@hookimpl
def build_pool(run: Run) -> Sequence[MemberTask]:
    return tasks(run)


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return MatchingObjective(run, pool)

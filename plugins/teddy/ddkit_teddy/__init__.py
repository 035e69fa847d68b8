"""Teddy: Taylor-approximated matching with a pool of weak models (Yu et al., ECCV 2024)."""

from collections.abc import Sequence

from ddkit import Labels, MemberTask, MethodOptions, Objective, Pool, Run, Synthetic, hookimpl
from ddkit_teddy import committee, post
from ddkit_teddy.checking import check_run
from ddkit_teddy.objective import TeddyObjective
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.prior import Trajectory
from ddkit_teddy.relabelling import label


@hookimpl
def method_config() -> type[MethodOptions]:
    return TeddyOptions


@hookimpl
def check(run: Run) -> None:
    check_run(run)


@hookimpl
def build_pool(run: Run) -> Sequence[MemberTask]:
    pools = {"post": post.tasks, "committee": committee.tasks}
    build = pools.get(run.options.pool)
    return [Trajectory(run).task()] if build is None else build(run)


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return TeddyObjective(run, pool)


@hookimpl
def relabel(run: Run, pool: Pool, images: Synthetic) -> Labels:
    return label(run, pool, images)

"""Coreset selection: the real images that stand for their class, by herding or k-center."""

from collections.abc import Sequence

from ddkit import MemberTask, MethodOptions, Objective, Pool, Run, hookimpl
from ddkit_selection.checking import check_run
from ddkit_selection.objective import SelectionObjective
from ddkit_selection.options import SelectionOptions
from ddkit_selection.teachers import teachers


@hookimpl
def method_config() -> type[MethodOptions]:
    return SelectionOptions


@hookimpl
def check(run: Run) -> None:
    check_run(run)


@hookimpl
def build_pool(run: Run) -> Sequence[MemberTask]:
    return teachers(run).tasks() if run.options.features == "network" else []


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return SelectionObjective(run, pool)

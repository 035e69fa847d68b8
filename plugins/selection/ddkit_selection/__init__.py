"""Selection: the real images, or parts of them, that stand for their class."""

from collections.abc import Sequence

from ddkit import (
    Labels,
    MemberTask,
    MethodOptions,
    Objective,
    Pool,
    Run,
    Synthetic,
    hookimpl,
)
from ddkit_selection.checking import check_run
from ddkit_selection.objective import objective_of
from ddkit_selection.options import SelectionOptions
from ddkit_selection.relabelling import label
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
    return objective_of(run, pool)


@hookimpl
def relabel(run: Run, pool: Pool, images: Synthetic) -> Labels:
    return label(run, pool, images)

"""APM: dataset distillation via adversarial prediction matching (Chen et al., 2023)."""

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
from ddkit_apm.memory import check_budget
from ddkit_apm.objective import ApmObjective
from ddkit_apm.options import ApmOptions
from ddkit_apm.relabelling import label
from ddkit_apm.teachers import teachers


@hookimpl
def method_config() -> type[MethodOptions]:
    return ApmOptions


@hookimpl
def check(run: Run) -> None:
    check_budget(run)


@hookimpl
def build_pool(run: Run) -> Sequence[MemberTask]:
    return teachers(run).tasks()


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return ApmObjective(run, pool)


@hookimpl
def relabel(run: Run, pool: Pool, images: Synthetic) -> Labels:
    return label(run, pool, images)

"""Sets that a regression learns from in closed form: FRePo, KIP, RFAD and RCIG."""

from ddkit import (
    Labels,
    MethodOptions,
    Objective,
    Pool,
    RegressionTargets,
    Run,
    Synthetic,
    hookimpl,
)
from ddkit_regression.checking import check_run
from ddkit_regression.objective import RegressionObjective
from ddkit_regression.options import RegressionOptions


@hookimpl
def method_config() -> type[MethodOptions]:
    return RegressionOptions


@hookimpl
def check(run: Run) -> None:
    check_run(run)


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return RegressionObjective(run)


@hookimpl
def relabel(run: Run, pool: Pool, images: Synthetic) -> Labels:
    if images.label_logits is not None:
        return RegressionTargets(images.label_logits)
    return RegressionTargets.of_classes(images.classes, len(run.classes))

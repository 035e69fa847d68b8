"""TESLA: trajectory matching with soft labels at constant memory (Cui et al., ICML 2023)."""

from collections.abc import Sequence

from ddkit import Labels, MemberTask, MethodOptions, Objective, Pool, Run, Synthetic, hookimpl
from ddkit_tesla.checking import check_run
from ddkit_tesla.experts import check_epochs, experts
from ddkit_tesla.objective import TeslaObjective
from ddkit_tesla.options import TeslaOptions
from ddkit_tesla.relabelling import label


@hookimpl
def method_config() -> type[MethodOptions]:
    return TeslaOptions


@hookimpl
def check(run: Run) -> None:
    check_run(run)


@hookimpl
def build_pool(run: Run) -> Sequence[MemberTask]:
    check_epochs(run.options, run.options.train_epochs)  # before hours of training
    return experts(run).tasks()


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return TeslaObjective(run, pool)


@hookimpl
def relabel(run: Run, pool: Pool, images: Synthetic) -> Labels:
    return label(run, pool, images)

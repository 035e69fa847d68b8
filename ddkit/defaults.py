"""What a method gets without asking: the core's own implementation of the hooks it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ddkit.config import MethodOptions
from ddkit.hookspecs import hookimpl
from ddkit.labels import HardLabels, Labels

if TYPE_CHECKING:
    from ddkit.distilled import DistilledDataset
    from ddkit.evaluation import Evaluation
    from ddkit.objective import Synthetic
    from ddkit.pool import MemberTask, Pool
    from ddkit.run import Run


@hookimpl
def method_config() -> type[MethodOptions]:
    """No options."""
    return MethodOptions


@hookimpl
def build_pool(run: Run) -> Sequence[MemberTask]:
    """No pool."""
    return []


@hookimpl
def relabel(run: Run, pool: Pool, images: Synthetic) -> Labels:
    """The class that each image was made for."""
    return HardLabels(images.classes)


@hookimpl
def evaluate(
    run: Run, distilled: DistilledDataset, network: str, seeds: Sequence[int]
) -> Evaluation:
    """The core's protocol for the kind of labels the set has."""
    from ddkit.evaluation import default_protocol, evaluate_on_test

    return evaluate_on_test(default_protocol(distilled), run, distilled, network, seeds)

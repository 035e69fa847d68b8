"""What a method gets without asking: the core's own implementation of the hooks it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ddkit.labels import HardLabels, Labels
from ddkit.methods.hookspecs import hookimpl
from ddkit.methods.options import MethodOptions

if TYPE_CHECKING:
    from ddkit.distilled.dataset import DistilledDataset
    from ddkit.evaluation.result import Evaluation
    from ddkit.pools.pool import Pool
    from ddkit.pools.tasks import MemberTask
    from ddkit.run import Run
    from ddkit.synthesis.images import Synthetic


@hookimpl
def method_config() -> type[MethodOptions]:
    """No options."""
    return MethodOptions


@hookimpl
def check(run: Run) -> None:
    """Nothing is known to be wrong."""


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
    """The method's own recipe, from its options, with the rate that the set brings."""
    from ddkit.evaluation.accuracy import evaluate_on_test, rated
    from ddkit.methods.own import own_recipe

    protocol = rated(own_recipe(run.options, run.config.protocol, distilled), distilled)
    return evaluate_on_test(protocol, run, distilled, network, seeds)

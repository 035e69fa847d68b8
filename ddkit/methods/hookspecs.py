"""The contract with a method: six hooks, of which `synthesis_loss` alone is needed.

A plugin is a module; its distribution names it in the entry-point group "ddkit". Whatever hook it
does not implement is the core's default (ddkit/methods/defaults.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ddkit.distilled.dataset import DistilledDataset
    from ddkit.evaluation.result import Evaluation
    from ddkit.labels import Labels
    from ddkit.methods.options import MethodOptions
    from ddkit.pools.pool import Pool
    from ddkit.pools.tasks import MemberTask
    from ddkit.run import Run
    from ddkit.synthesis.images import Synthetic
    from ddkit.synthesis.objective import Objective

hookspec = pluggy.HookspecMarker("ddkit")
hookimpl = pluggy.HookimplMarker("ddkit")


@hookspec(firstresult=True)
def method_config() -> type[MethodOptions]:  # type: ignore[empty-body]
    """Return the pydantic model of the method's options, a subclass of `ddkit.MethodOptions`."""


@hookspec
def check(run: Run) -> None:
    """Raise `DdkitError` where a run of this method cannot work, before any work begins."""


@hookspec(firstresult=True)
def build_pool(run: Run) -> Sequence[MemberTask]:  # type: ignore[empty-body]
    """Return the tasks that train the pool; the core runs, stores, caches and opens them."""


@hookspec(firstresult=True)
def synthesis_loss(run: Run, pool: Pool) -> Objective:  # type: ignore[empty-body]
    """Return what is optimised: called once, its methods are then the inner loop."""


@hookspec(firstresult=True)
def relabel(run: Run, pool: Pool, images: Synthetic) -> Labels:  # type: ignore[empty-body]
    """Return the labels of the finished `images`; the core stores them in the artifact."""


@hookspec(firstresult=True)
def evaluate(  # type: ignore[empty-body]
    run: Run, distilled: DistilledDataset, network: str, seeds: Sequence[int]
) -> Evaluation:
    """Train `network` on the set as the method's authors do, and return the accuracy per seed."""

"""What is wrong with a run of Teddy before its pool is trained."""

from dataclasses import replace
from pathlib import Path

from ddkit import Run
from ddkit_teddy.given import given_network
from ddkit_teddy.matching import matched_layers
from ddkit_teddy.memory import check_budget
from ddkit_teddy.objective import TeddyObjective
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.phases import check_phases
from ddkit_teddy.post import own_base
from ddkit_teddy.weights import check_weights


def check_run(run: Run) -> None:
    """Refuse networks without batch norms, whose statistics Eq. 7 matches; and small budgets.

    What a named pool holds is measured when the synthesis begins: nothing is trained before.
    """
    check_weights(run)
    pool_options = run.pool_options
    own = isinstance(pool_options, TeddyOptions) and run.config.pool is None
    for spec in (pool_options.committee if own else ()) or (None,):
        network = run.network(run.generator("network to look at"), spec).eval()
        matched_layers(network)
        check_phases(run, network)
    if isinstance(pool_options, TeddyOptions) and pool_options.base is not None:
        next(own_base(replace(run, options=pool_options)))
    for spec, path in pool_options.bases if own else ():
        given_network(run, spec, Path(path))
    if run.config.memory_budget is not None and run.config.pool is None:
        check_budget(run, TeddyObjective)

"""What is wrong with a run of Teddy before its pool is trained."""

from dataclasses import replace

from ddkit import Run
from ddkit_teddy.matching import matched_layers
from ddkit_teddy.memory import check_budget
from ddkit_teddy.objective import TeddyObjective
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.phases import check_phases
from ddkit_teddy.post import own_base


def check_run(run: Run) -> None:
    """Refuse networks without batch norms, whose statistics Eq. 7 matches; and small budgets.

    What a named pool holds is measured when the synthesis begins: nothing is trained before.
    """
    network = run.network(run.generator("network to look at")).eval()
    matched_layers(network)
    check_phases(run, network)
    if isinstance(run.pool_options, TeddyOptions) and run.pool_options.base is not None:
        next(own_base(replace(run, options=run.pool_options)))
    if run.config.memory_budget is not None and run.config.pool is None:
        check_budget(run, TeddyObjective)

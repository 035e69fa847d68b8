"""What is wrong with a run of Teddy before its pool is trained."""

from ddkit import Run
from ddkit_teddy.matching import matched_layers
from ddkit_teddy.memory import check_budget
from ddkit_teddy.objective import TeddyObjective


def check_run(run: Run) -> None:
    """Refuse networks without batch norms, whose statistics Eq. 7 matches; and small budgets.

    What a named pool holds is measured when the synthesis begins: nothing is trained before.
    """
    matched_layers(run.network(run.generator("network to look at")))
    if run.config.memory_budget is not None and run.config.pool is None:
        check_budget(run, TeddyObjective)

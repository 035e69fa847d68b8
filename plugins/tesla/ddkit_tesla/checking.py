"""What is wrong with a run of TESLA before its experts are trained."""

from dataclasses import replace

from ddkit import Run, Silent
from ddkit_tesla.memory import fitting_sizes
from ddkit_tesla.objective import TeslaObjective
from ddkit_tesla.students import check_micro_batch


def check_run(run: Run) -> None:
    """Refuse parts of a batch where the network needs the whole, and small budgets."""
    network = run.network(run.generator("network to look at"))
    check_micro_batch(run.options.micro_batch, network)
    if run.config.memory_budget is not None:
        fitting_sizes(replace(run, progress=Silent()), TeslaObjective)

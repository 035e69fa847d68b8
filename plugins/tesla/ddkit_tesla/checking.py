"""What is wrong with a run of TESLA before its experts are trained."""

from dataclasses import replace

from ddkit import DdkitError, Run, Silent
from ddkit_tesla.memory import fitting_sizes
from ddkit_tesla.objective import TeslaObjective
from ddkit_tesla.students import check_micro_batch

MOSTLY = 0.9  # of an image; 0.61 in FTD's own settings, at most


def check_run(run: Run) -> None:
    """Refuse parts of a batch where the network needs the whole, and small budgets."""
    network = run.network(run.generator("network to look at"))
    check_micro_batch(run.options.micro_batch, network)
    options = run.options
    if options.choose == "correct" and run.config.init != "real":
        raise DdkitError(
            f"choose=correct chooses among real images, but --init is {run.config.init}: use "
            "--init real, or --set choose=random"
        )
    kept = options.average**options.iterations
    if options.average and kept > MOSTLY:
        run.progress.note(
            f"average={options.average:g} over {options.iterations} iterations: {kept:.0%} of each "
            "image is still the initial one, a lower average would follow sooner"
        )
    if run.config.memory_budget is not None:
        fitting_sizes(replace(run, progress=Silent()), TeslaObjective)

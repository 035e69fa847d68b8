"""The same distillation time for every method: how many steps fit, measured once and kept."""

from pathlib import Path
from tempfile import TemporaryDirectory

from ddkit.bench.cells import Cell, steps_option
from ddkit.data.access import sealed_test
from ddkit.pipeline.prepare import begun
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress
from ddkit.synthesis.engine import Engine

PACE_STEPS, PACE_SECONDS = 20, 10.0  # measured until one of the two is reached


def steps_within(cell: Cell, minutes: float, progress: Progress) -> int | None:
    """Return how many steps of a cell's method take `minutes`; None where it takes no steps.

    The pool is trained first where the cache lacks it: its time does not count, since cells and
    runs share it. All shards together get the time.

    Raises:
        DdkitError: not even one step of each shard fits.
    """
    if steps_option(cell.config) is None:
        return None
    with TemporaryDirectory(prefix="ddkit-pace-") as folder, sealed_test():
        stages = begun(cell.config, Path(folder), progress)
        objective = stages["synthesis"].objective(stages["synthesis"].pool())
        step = Engine(stages.run, objective).pace(PACE_STEPS, PACE_SECONDS)
        shards = len(objective.shards())
    count = int(60 * minutes / (step * shards))
    if count < 1:
        raise DdkitError(
            f"--budget-minutes {minutes:g} is too short for {cell.title}: one step of each of its "
            f"{shards} shards takes {step * shards:.0f} s"
        )
    return count

"""Units one after the other, in this process: the default."""

from collections.abc import Sequence

from ddkit.runtime.execution.units import Job, Unit
from ddkit.runtime.progress import Progress


class Local:
    """Does units here, in their order; the first that fails is the last."""

    def run(self, job: Job, units: Sequence[Unit], progress: Progress, done: int = 0) -> None:
        """Do all units, as `Executor.run` says."""
        total = done + sum(unit.size for unit in units)
        with progress.task(job.title, total, done) as task:
            for unit in units:
                unit.here(task)


LOCAL = Local()

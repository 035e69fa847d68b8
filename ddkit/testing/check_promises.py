"""What a method promises of its check: it looks, and leaves everything as it was."""

from typing import Any

import torch

from ddkit.data.access import sealed_test
from ddkit.pipeline.stages import Stage
from ddkit.run import Run
from ddkit.testing.method import MethodUnderTest
from ddkit.testing.promises import Broken, promise
from ddkit.testing.subject import Subject


class CheckPromises(MethodUnderTest):
    """Of the hook `check`."""

    @promise("check", "it changes nothing of the run, and opens no test data")
    def test_a_check_leaves_the_run_as_it_was(self, subject: Subject) -> None:
        stage = Stage(subject.run("checked"), "synthesis")
        before = state_of(stage.run)
        check(stage)
        for what, found in state_of(stage.run).items():
            if found != before[what]:
                raise Broken(f"it changed {what}")


def check(stage: Stage) -> None:
    """Call the hook of a stage's plugin as a run does, with the test split closed."""
    with sealed_test():
        stage.plugin.check(stage.run)


def state_of(run: Run) -> dict[str, Any]:
    """Return what a check could change, as values that can be compared."""
    folder = run.folder.parent
    return {
        "the configuration": run.config.model_dump(),
        "the options": run.options.model_dump(),
        "the training images": run.train.take(torch.arange(len(run.train))).tolist(),
        "the classes of the training images": run.train.labels.tolist(),
        "the input space": run.space.fingerprint(),
        "files": sorted(str(path.relative_to(folder)) for path in run.folder.rglob("*")),
        "torch's random numbers": torch.get_rng_state().tolist(),
    }

"""A distillation that ends when its time is up, as if it had been asked for so many steps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ddkit.config import RunConfig
from ddkit.methods.plugin import options_model
from ddkit.pipeline import distill as pipeline
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import Stopped, request_stop, stopping_on_signals
from ddkit.runtime.progress import Silent
from ddkit.runtime.tensors import TensorFile, write_tensors


class Until(Silent):
    """Asks for a stop when the time is up."""

    def __init__(self, ends: float):
        self.ends = ends

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator["Until"]:
        yield self

    def advance(self, steps: int = 1) -> None:
        if time.monotonic() > self.ends:
            request_stop()


def distilled_until(
    config: RunConfig,
    folder: Path,
    every: int,
    ends: float,
    shorter: Callable[[str], RunConfig],
) -> Path:
    """Return the artifact of a run; at `ends` that of as many steps as it has taken by then.

    Steps that follow from their number alone, at a constant rate, are those that a run of fewer
    steps would have taken.

    Args:
        every: steps between snapshots, which the shorter run is made of; 0: the run is not stopped.
        shorter: "option=steps" → the configuration of the run with so many steps.

    Raises:
        DdkitError: the time was up before the first snapshot.
    """
    if not every:
        return pipeline.distill(config, folder / "run")
    try:
        with stopping_on_signals():
            return pipeline.distill(config, folder / "run", Until(ends), snapshot_every=every)
    except Stopped:
        snapshots = sorted((folder / "run" / "snapshots").glob("step-*/shard-*.safetensors"))
        if not snapshots:
            raise DdkitError("the time was up before the first snapshot") from None
    last = snapshots[-1]
    option = options_model(config.plugin).steps_option
    steps = int(last.parent.name.removeprefix("step-"))
    target = folder / "shorter"
    file = TensorFile(last)
    write_tensors(
        target / "shards" / last.name, {name: file[name] for name in file.names}, {"peak_bytes": 0}
    )
    short = shorter(f"{option}={steps}")
    short.save(target / "config.toml")
    cost = (folder / "run" / "cost.json").read_text()
    (target / "cost.json").write_text(cost)
    return pipeline.distill(short, target)

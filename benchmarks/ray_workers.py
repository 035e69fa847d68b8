"""Units on Ray against one process: python -m benchmarks.ray_workers

Teddy on digits in four shards, its pool ready: the seconds of the synthesis with one worker of one
thread, and with two. Ray and its workers are there, with the data loaded, before the clock starts.
"""

import os
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.writing import write
from ddkit.config import RunConfig
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import begun, check_inputs
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stages, open_pool
from ddkit.runtime.execution import LOCAL, Executor
from ddkit.runtime.tensors import TensorFile

SETTINGS = ("unit=step", "first=1", "last=40", "every=4", "recalibrate=200", "label_epochs=2")
IPC, SHARD = 4, 10  # digits have ten classes: four shards of ten images


def seconds(config: RunConfig, folder: Path, executor: Executor) -> float:
    """Return the seconds of a run's synthesis, from nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    run = begun(config, folder, None)
    config.save(folder / "config.toml")
    check_inputs(run)
    engine = pipeline.engine_of(Stages(run), open_pool(run, "synthesis"))
    began = time.perf_counter()
    engine.synthesise(executor)
    return time.perf_counter() - began


def images(folder: Path) -> list[bytes]:
    """Return the images of all shards."""
    paths = sorted((folder / "shards").glob("shard-?????.safetensors"))
    return [TensorFile(path)["images"].numpy().tobytes() for path in paths]


@click.command()
@click.option("--iterations", default=2000, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="of each, in turn; the best counts")
def main(iterations: int, rounds: int) -> None:
    import ray

    from ddkit.runtime.execution.ray import connected

    with TemporaryDirectory(prefix="ddkit-") as name:
        folder = Path(name)
        os.environ["DDKIT_CACHE"] = str(folder / "cache")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        flags = {"ipc": IPC, "threads": 1, "network": "convnet:width=32:norm=batch"}
        settings = [*SETTINGS, f"batch_size={SHARD}", f"iterations={iterations}"]
        config = resolve(Request("teddy", flags, {}, settings, "none"))
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            with connected(None) as on_ray:
                seconds(config, folder / "ray", on_ray)  # workers start, and load the data
                taken = []
                for _ in range(rounds):
                    alone = seconds(config, folder / "here", LOCAL)
                    taken.append((alone, seconds(config, folder / "ray", on_ray)))
        finally:
            ray.shutdown()
        same = images(folder / "here") == images(folder / "ray")
    here, there = (min(column) for column in zip(*taken, strict=True))
    rows = [
        ("this process", "1", f"{here:.1f} s", ""),
        ("Ray", "2", f"{there:.1f} s", f"{here / there:.2f} ×"),
    ]
    figures = {"here": here, "ray": there, "speedup": here / there, "rounds": taken, "same": same}
    about = f"{iterations} steps of 4 shards; the images are {'' if same else 'not '}the same."
    write("ray_workers", figures, rows, ["", "workers", "synthesis", "faster"], about)


if __name__ == "__main__":
    main()

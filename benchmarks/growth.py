"""What a synthesis costs as its work grows: python -m benchmarks.growth

Seconds over iterations, images per class and classes: where a method works on all images in each
step, and where it works on shards of a fixed size, linear is what one expects. Peak memory of a
step over images per class, members of the pool and real images, at a fixed batch: flat is.

Images and weights are made up. Seconds are those of the processor, so that other work on the
machine counts little; the least of some tries, taken in turn.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.device.made_up import pool_of, run_of
from benchmarks.teddy_step import ddkit_steps
from benchmarks.writing import write
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.stages import Stages
from ddkit.runtime.memory import PeakMemory
from ddkit.synthesis.engine import Engine

NETWORK, SHAPE, CPU = "convnet:depth=2:width=32:norm=batch", (3, 16, 16), torch.device("cpu")
TITLES = {"teddy": "Teddy", "tesla": "TESLA", "apm": "APM"}
STEPS = {"teddy": 20, "tesla": 8, "apm": 8}
TRIES = 2
GROWN: dict[str, Sequence[int]] = {  # how often the least
    "iterations": (1, 2, 4),
    "images per class": (1, 2, 4),
    "classes": (1, 2, 4),
}
FLAT: dict[str, Sequence[int]] = {
    "images per class": (12, 24, 48),
    "members of the pool": (3, 6, 12),
    "real images": (400, 800, 1600),
}


@dataclass(frozen=True)
class Problem:
    """A synthesis: `batch` images in a step, 0 for all (Teddy: 20, for its shards are fixed)."""

    method: str
    steps: int
    ipc: int = 8
    classes: int = 5
    members: int = 3
    images: int = 0
    batch: int = 0

    def engine(self, folder: Path) -> Engine:
        run = run_of(
            self.method,
            NETWORK,
            SHAPE,
            folder,
            CPU,
            classes=self.classes,
            ipc=self.ipc,
            images=self.images,
            settings=self.settings,
        )
        role, epochs = ("expert", 3) if self.method == "tesla" else ("teacher", 1)
        pool = pool_of(run, role, tasks=self.members, epochs=range(epochs))
        return pipeline.engine_of(Stages(run), pool)

    @property
    def settings(self) -> list[str]:
        if self.method == "teddy":
            return [f"iterations={self.steps}", f"batch_size={self.batch or 20}", "teachers=3"]
        if self.method == "tesla":
            return [
                f"iterations={self.steps}",
                f"batch_syn={self.batch}",
                "student_steps=3",
                "max_start_epoch=1",
                "expert_epochs=2",
                "labels=hard",
                "lr_images=1e-6",
                "lr_lr=0",
            ]
        return [
            f"rounds={self.steps}",
            f"batch_syn={self.batch}",
            "student_epochs=5",
            "checkpoints=5",
            "lr_images=1e-6",
        ]


def grown(method: str, what: str, factor: int) -> Problem:
    """Return a synthesis with so many times the work in one respect."""
    problem = Problem(method, STEPS[method])
    if what == "iterations":
        return replace(problem, steps=factor * problem.steps)
    if what == "classes":
        return replace(problem, classes=factor * problem.classes)
    return replace(problem, ipc=factor * problem.ipc)


def larger(method: str, what: str, value: int) -> Problem:
    """Return a synthesis of 20 images in a step that is larger in one respect."""
    problem = Problem(method, 100, ipc=12, batch=20, images=400)
    if what == "members of the pool":
        return replace(problem, members=value)
    if what == "real images":
        return replace(problem, images=value)
    return replace(problem, ipc=value)


def seconds_of(problem: Problem) -> float:
    """Return the processor's seconds of a whole synthesis."""
    with tempfile.TemporaryDirectory() as folder:
        engine = problem.engine(Path(folder))
        began = time.process_time()
        engine.synthesise()
        return time.process_time() - began


def peak_of(problem: Problem) -> int:
    """Return the peak of live tensor bytes in two steps, after every member was opened once.

    The weights are mapped pages of files; the watcher counts them where they are first mapped.
    """
    with tempfile.TemporaryDirectory() as folder:
        engine = problem.engine(Path(folder))
        objective = engine.objective
        step = ddkit_steps(engine.run, objective, objective.shards()[0])
        step(0)
        for index in range(len(objective.pool)):  # type: ignore[attr-defined] - all three have one
            objective.pool.network(index)  # type: ignore[attr-defined]
        with PeakMemory(CPU) as memory:
            step(1)
            step(2)
        return memory.peak


def times(method: str, what: str, factors: Sequence[int]) -> list[float]:
    """Return the least seconds of each extent, taken in turn."""
    taken: list[list[float]] = [[] for _ in factors]
    for _ in range(TRIES):
        for factor, found in zip(factors, taken, strict=True):
            found.append(seconds_of(grown(method, what, factor)))
    return [min(found) for found in taken]


def ratios(values: Sequence[int], found: Sequence[float], *, linear: bool) -> list[float]:
    """Return how many times as much the later ones are as linear growth, or none, would have it."""
    return [
        measured / found[0] / (value / values[0] if linear else 1)
        for value, measured in zip(values[1:], found[1:], strict=True)
    ]


def rows() -> Iterator[tuple[str, list[str], dict[str, object]]]:
    """Serve (quantity, cells, figures) of every line."""
    for method, title in TITLES.items():
        seconds_of(grown(method, "iterations", 1))  # the first one loads what all use
        for what, factors in GROWN.items():
            found = times(method, what, factors)
            against = ratios(factors, found, linear=True)
            name = f"{title}: seconds over {what}, × {', '.join(map(str, factors))}"
            yield (
                name,
                [f"{each:.2f} s" for each in found] + [said("linear", against)],
                {
                    "values": list(factors),
                    "seconds": found,
                    "against linear": against,
                },
            )
        for what, values in FLAT.items():
            peaks = [peak_of(larger(method, what, value)) for value in values]
            against = ratios(values, peaks, linear=False)
            name = f"{title}: peak of a step over {what}, {', '.join(map(str, values))}"
            yield (
                name,
                [f"{each / 1e6:.2f} MB" for each in peaks] + [said("flat", against)],
                {
                    "values": list(values),
                    "peak_bytes": peaks,
                    "against flat": against,
                },
            )


def said(law: str, against: Sequence[float]) -> str:
    return f"{law}: " + ", ".join(f"{ratio:.2f}" for ratio in against)


def main() -> None:
    torch.set_num_threads(1)
    lines, figures = [], {}
    for name, cells, found in rows():
        print(name, *cells, sep=" | ", flush=True)
        lines.append([name, *cells])
        figures[name] = found
    write(
        "growth",
        figures,
        lines,
        ["quantity", "least", "", "", "against the first"],
        f"{NETWORK}, images of {SHAPE}; {Problem.classes} classes of {Problem.ipc} images at "
        f"least for seconds, which are the processor's, the least of {TRIES} tries in turn. TESLA "
        "and APM work on all images in each step there, Teddy on shards of 20. For memory all work "
        "on 20 images in a step (TESLA: in each of its student's 3). Below 1.00: what a step does "
        "once weighs less in larger ones.",
    )


if __name__ == "__main__":
    main()

"""TESLA's iteration with the exact gradient: ConvNet-3 at 32 px and ConvNet-4 at 64 px, IPC 10."""

from collections.abc import Iterator
from functools import partial

from ddkit_tesla.objective import TeslaObjective

from benchmarks.device.figures import Bench, Figure, Row, Sides, compared
from benchmarks.device.made_up import pool_of, run_of
from benchmarks.device.timing import Step, numbered
from benchmarks.teddy_step import ddkit_steps
from benchmarks.tesla_step import floor
from ddkit.arithmetic import Arithmetic

DEPTHS = {32: 3, 64: 4}
STEPS = (10, 50)
IMAGES = (1, 2, 5, 10, 20, 50, 100)


def figures(bench: Bench) -> list[Figure]:
    return [
        Figure(title_of(side, steps), partial(iteration_rows, bench, side, steps),
               share=2.0 if steps > 10 else 1.0)
        for side in DEPTHS for steps in STEPS
    ]  # fmt: skip


def title_of(side: int, steps: int) -> str:
    return f"TESLA iteration, ConvNet-{DEPTHS[side]}, {side} px, 100 images, T = {steps}"


def iteration_rows(
    bench: Bench, side: int, steps: int, seconds: float, images: tuple[int, ...] = IMAGES
) -> Iterator[Row]:
    sized = partial(sides, bench, side, steps)
    return compared(
        bench, title_of(side, steps), images, sized, seconds, bears=TeslaObjective.bears,
        layouts=False,
    )  # fmt: skip


def sides(bench: Bench, side: int, steps: int, images: int) -> Sides:
    """Return the engine's iteration over made-up experts, and its arithmetic written out."""
    objective = objective_of(bench, side, steps, images)
    shard = objective.shards()[0]

    def ours(arithmetic: Arithmetic) -> Step:
        return numbered(ddkit_steps(objective.run, objective, shard, arithmetic))

    def bare(arithmetic: Arithmetic) -> Step:
        return numbered(floor(objective, shard, exact=True))

    return Sides(ours, bare)


def objective_of(bench: Bench, side: int, steps: int, images: int) -> TeslaObjective:
    classes = min(10, images)
    settings = [
        f"student_steps={steps}", "max_start_epoch=1", "expert_epochs=2", "labels=hard",
        "iterations=1000000", "lr_images=1e-6", "lr_lr=0",
    ]  # fmt: skip
    run = run_of(
        "tesla", f"convnet:depth={DEPTHS[side]}", (3, side, side), bench.scratch(), bench.device,
        classes=classes, ipc=images // classes, settings=settings,
    )  # fmt: skip
    pool = pool_of(run, "expert", epochs=range(3))
    return TeslaObjective(run.for_stage("synthesis"), pool)

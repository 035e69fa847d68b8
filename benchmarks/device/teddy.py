"""Teddy's step: Eq. 7 over n members on ResNet-18, at the sizes of Tiny-ImageNet and ImageNet."""

from collections.abc import Iterator
from functools import partial

from ddkit_teddy.objective import TeddyObjective

from benchmarks.device.figures import Bench, Figure, Row, Sides, compared
from benchmarks.device.made_up import pool_of, run_of
from benchmarks.device.timing import Step, numbered
from benchmarks.teddy_step import ddkit_steps, plain_steps
from ddkit.arithmetic import Arithmetic

NETWORKS = {64: "resnet18", 224: "torchvision-resnet18"}
BATCHES = (1, 2, 5, 10, 20, 50, 100)


def figures(bench: Bench) -> list[Figure]:
    return [
        Figure(f"Teddy step, ResNet-18, {side} px, 100 images, n = {n}",
               partial(step_rows, bench, side, n))
        for side in NETWORKS for n in (1, 3)
    ]  # fmt: skip


def step_rows(
    bench: Bench, side: int, teachers: int, seconds: float, batches: tuple[int, ...] = BATCHES
) -> Iterator[Row]:
    title = f"Teddy step, ResNet-18, {side} px, 100 images, n = {teachers}"
    return compared(bench, title, batches, partial(sides, bench, side, teachers), seconds)


def sides(bench: Bench, side: int, teachers: int, batch: int) -> Sides:
    """Return the engine's step over made-up members, and Eq. 7 written out."""

    def ours(arithmetic: Arithmetic) -> Step:
        own = objective_of(bench, side, teachers, batch)
        return numbered(ddkit_steps(own.run, own, own.shards()[0], arithmetic))

    def bare(arithmetic: Arithmetic) -> Step:
        own = objective_of(bench, side, teachers, batch)  # hooks stay on its networks
        own.pool.lay_out(arithmetic)
        return numbered(plain_steps(own.run, own, own.shards()[0]))

    return Sides(ours, bare)


def objective_of(bench: Bench, side: int, teachers: int, batch: int) -> TeddyObjective:
    classes = min(10, batch)
    settings = [f"teachers={teachers}", f"batch_size={batch}", "iterations=1000000"]
    run = run_of(
        "teddy", NETWORKS[side], (3, side, side), bench.scratch(), bench.device,
        classes=classes, ipc=batch // classes, settings=settings,
    )  # fmt: skip
    pool = pool_of(run, "teacher", epochs=range(teachers))
    return TeddyObjective(run.for_stage("synthesis"), pool)

"""Evaluation seeds per second: one network after the other, and all as one batched network."""

from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks.device.figures import TIMED, Bench, Figure, Row, smaller
from benchmarks.device.floors import Operations
from benchmarks.device.made_up import run_of, set_of, split_of
from benchmarks.device.timing import Step, bearable, in_turn
from ddkit.arithmetic import usual
from ddkit.data.resident import Resident
from ddkit.evaluation import evaluate_with, protocol_for

NETWORK, SHAPE, CLASSES = "convnet:depth=3", (3, 32, 32), 10
SEEDS, TESTED = 10, 100
EPOCHS = (1, 3, 10, 30, 100, 300)


def figures(bench: Bench) -> list[Figure]:
    return [
        Figure(f"evaluation seeds, IPC {ipc}", partial(seed_rows, bench, ipc)) for ipc in (1, 10)
    ]


def seed_rows(
    bench: Bench, ipc: int, seconds: float, epochs: Sequence[int] = EPOCHS, seeds: int = SEEDS
) -> Iterator[Row]:
    """Serve both ways of training and testing all seeds, hard labels and DSA."""
    device = bench.device
    run = run_of("random", NETWORK, SHAPE, bench.scratch(), device, classes=CLASSES, ipc=ipc)
    distilled = set_of(run)
    test = Resident(split_of(TESTED, SHAPE, CLASSES), run.space, device)

    def step(length: int, together: bool, count: int = seeds) -> Step:
        protocol = protocol_for("dsa").with_recipe(epochs=length)
        return lambda: evaluate_with(
            protocol, distilled, test, NETWORK, range(count), device, together=together
        )

    # one seed tells how long all take: found in turns and at once, untimed and twice timed
    each = seconds / (5 * seeds)
    length = bearable(epochs, lambda length: step(length, False, 1), device, each)
    ways = {"one after the other": step(length, False), "at once": step(length, True)}
    with Operations() as one:
        step(length, False, 1)()
    if device.type == "cuda":
        for evaluate in ways.values():  # kernels are loaded
            evaluate()
    taken = in_turn(ways, device, TIMED * seconds)
    precision = usual(device).precision
    floor = bench.floors.of(seeds * one.flops, seeds * one.bytes, precision)
    title = f"evaluation, ConvNet-3, 32 px, IPC {ipc}, {seeds} seeds of {epochs[-1]} epochs"
    in_row, at_once = taken.values()
    less = smaller(length, epochs, "epochs")
    notes = less, "; ".join(filter(None, [f"{in_row / at_once:.2f} × as fast", less]))
    for (way, found), note in zip(taken.items(), notes, strict=True):
        yield Row(f"{title}, {way}", found, precision, floor, None, seeds, "seeds/s", note)

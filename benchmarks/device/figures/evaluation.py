"""Evaluation: seeds one after the other, all as one batched network, and in bare torch."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.device.figures.comparing import TIMED, floors, line_of
from benchmarks.device.figures.training import SHAPE, network, plain_optimiser, spec, title
from benchmarks.device.floors import count
from benchmarks.device.made_up import run_of, set_of, split_of
from benchmarks.device.parts import Bench, Item, Line
from benchmarks.device.timing import Step, in_turn
from ddkit.data.augmentation.dsa import apply_dsa, draw_dsa
from ddkit.data.loading.resident import Resident
from ddkit.evaluation.accuracy import evaluate_with, protocol_for
from ddkit.runtime.arithmetic import usual

SEEDS, EPOCHS, TESTED, CLASSES = 10, 20, 100, 10


def seed_lines(ipc: int, bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve both ways of training and testing all seeds, with hard labels and DSA."""
    seeds, epochs = (2, 1) if bench.small else (SEEDS, EPOCHS)
    run = run_of("random", spec(bench), SHAPE, bench.scratch(), bench.device, ipc=ipc)
    dataset, protocol = set_of(run), protocol_for("dsa").with_recipe(epochs=epochs)
    test = Resident(split_of(TESTED, SHAPE, CLASSES), run.space, bench.device)

    def evaluated(together: bool) -> object:
        return evaluate_with(
            protocol, dataset, test, spec(bench), range(seeds), bench.device, together=together
        )

    steps: dict[str, Step] = {
        "one after the other": partial(evaluated, False),
        "at once": partial(evaluated, True),
        "bare": lambda: [bare_training(bench, 10 * ipc, epochs, seed) for seed in range(seeds)],
    }
    arithmetic = usual(bench.device)
    with arithmetic.rounding(bench.device):
        counted = count(lambda: bare_training(bench, 10 * ipc, epochs, 0))
        for step in steps.values():
            step()
        taken = in_turn(steps, bench, TIMED * seconds)
    floor = floors(bench).of(seeds * counted.flops, seeds * counted.bytes, arithmetic.precision)
    name = title(bench, f"evaluation, {seeds} seeds of {epochs} epochs", 10 * ipc)
    faster = taken["one after the other"].wall / taken["at once"].wall
    for way, note in (("one after the other", ""), ("at once", f"{faster:.2f} × as fast")):
        yield line_of(f"{name}, {way}", arithmetic, taken[way], taken["bare"], floor, note)


def bare_training(bench: Bench, size: int, epochs: int, seed: int) -> int:
    """Train a network on made-up images under DSA plainly; return how many it gets right."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, *SHAPE, generator=generator).to(bench.device)
    labels = torch.arange(size, device=bench.device) % CLASSES
    model = network(bench, seed).train()
    optimiser = plain_optimiser(model)
    for _ in range(epochs):
        seen = apply_dsa(inputs, draw_dsa(size, (32, 32), generator))
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(model(seen), labels).backward()
        optimiser.step()
    with torch.no_grad():
        tested = torch.randn(TESTED, *SHAPE, generator=generator).to(bench.device)
        return int((model.eval()(tested).argmax(1) == 0).sum())


ITEMS = tuple(
    Item(f"evaluation, IPC {ipc}", partial(seed_lines, ipc), 5, "3 ways, 0.4 s each, ten steps")
    for ipc in (1, 10)
)

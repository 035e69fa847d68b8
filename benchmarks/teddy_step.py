"""A Teddy step against bare torch, and its memory: python -m benchmarks.teddy_step

The floor is Eq. 7 written out with hooks and a plain Adam loop over the same frozen networks and
the same batch. Memory is the peak of live tensors in a step, for pools and sets of several sizes.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from ddkit_teddy.objective import TeddyObjective

from benchmarks.writing import write
from ddkit import Run
from ddkit.networks import batch_norms
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage
from ddkit.runtime.arithmetic import Arithmetic
from ddkit.runtime.memory import PeakMemory
from ddkit.synthesis.engine import Engine, take_step
from ddkit.synthesis.initial import initial_inputs
from ddkit.synthesis.leaves import LeafState
from ddkit.synthesis.objective import Objective
from ddkit.synthesis.shards import Shard

CASES = {  # network, data, images per batch, steps
    "ConvNet-2 ×64, digits 8 px": ("convnet:norm=batch:width=64", {"name": "digits"}, 100, 120),
    "ResNet-18, digits 32 px": ("resnet18", {"name": "digits", "resize": 32}, 20, 15),
}


def prepared(
    network: str,
    data: dict[str, object],
    folder: Path,
    *,
    ipc: int,
    members: int,
    batch: int,
    teachers: int = 3,
) -> tuple[Run, TeddyObjective]:
    """Return a run and its objective, over a pool of `members` barely trained networks."""
    settings = [
        "unit=step",
        "first=1",
        f"last={members}",
        "every=1",
        "recalibrate=256",
        "train_batch=64",
        f"teachers={teachers}",
        f"batch_size={batch}",
        "labels=hard",
        "iterations=1000",
    ]
    common = {"ipc": ipc, "network": network, "threads": torch.get_num_threads()}
    config = resolve(Request("teddy", common, data, settings, "none"))
    run = prepare(config, folder)
    pool = stage_pools.open_pool(run, "synthesis")
    return run, TeddyObjective(Stage(run, "synthesis").run, pool)


def ddkit_steps(
    run: Run, objective: Objective, shard: Shard, arithmetic: Arithmetic | None = None
) -> Callable[[int], None]:
    """Return a function that takes the engine's own step, in the arithmetic that it chooses."""
    computed = arithmetic or Engine(run, objective)._prepared()
    objective.compute_with(computed)
    leaves = {n: LeafState(leaf, run.device) for n, leaf in objective.initialise(shard).items()}

    def step(number: int) -> None:
        take_step(objective, shard, leaves, number, computed)

    return step


def plain_steps(run: Run, objective: TeddyObjective, shard: Shard) -> Callable[[int], None]:
    """Return the floor: Eq. 7 in bare torch, same networks, same images, Adam, clipping."""
    objective.pool.max_loaded = len(objective.members)
    networks = [objective.pool.network(index) for index in objective.draw_members(shard, 0)]
    images = initial_inputs(run, shard).to(run.device, copy=True).requires_grad_()
    classes = shard.classes.to(run.device)
    low, high = run.space.valid_range()
    optimiser = torch.optim.Adam([images], lr=0.1, betas=(0.5, 0.9), weight_decay=1e-4)
    inputs: list[torch.Tensor] = []
    for network in networks:
        for layer in batch_norms(network):
            layer.register_forward_pre_hook(
                lambda _, arguments: inputs.append(arguments[0].float())
            )

    def step(number: int) -> None:
        optimiser.zero_grad()
        total = torch.zeros(())
        for network in networks:
            inputs.clear()
            total = total + F.cross_entropy(network(images), classes)
            for layer, value in zip(batch_norms(network), inputs, strict=True):
                variance, mean = torch.var_mean(value, dim=(0, 2, 3))
                total = (
                    total
                    + (mean - layer.running_mean).norm()
                    + (variance - layer.running_var).norm()
                )
        (total / len(networks)).backward()
        optimiser.step()
        with torch.no_grad():
            images.clamp_(low, high)

    return step


def seconds(step: Callable[[int], None], number: int) -> float:
    began = time.perf_counter()
    step(number)
    return time.perf_counter() - began


def time_case(
    network: str, data: dict[str, object], batch: int, steps: int, folder: Path
) -> dict[str, float]:
    """Measure ddkit and the floor in alternation, with pools of their own."""
    ipc = batch // 10
    run, objective = prepared(network, data, folder, ipc=ipc, members=9, batch=batch)
    _, other = prepared(network, data, folder, ipc=ipc, members=9, batch=batch)
    shard = objective.shards()[0]
    ours, floor = ddkit_steps(run, objective, shard), plain_steps(run, other, shard)
    times: dict[str, list[float]] = {"ddkit": [], "floor": []}
    for number in range(steps):  # step by step in turn: what disturbs the machine hits both
        times["ddkit"].append(seconds(ours, number))
        times["floor"].append(seconds(floor, number))
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def peak(folder: Path, *, ipc: int, members: int) -> int:
    """Return the peak of live tensor bytes of a step that draws anew.

    Every member is opened once before, for its weights are the mapped pages of its file: they are
    no allocation, though the watcher counts them where they are mapped for the first time.
    """
    network, data, *_ = CASES["ConvNet-2 ×64, digits 8 px"]
    run, objective = prepared(network, data, folder, ipc=ipc, members=members, batch=100)
    step = ddkit_steps(run, objective, objective.shards()[0])
    step(0)
    for index in objective.members:
        objective.pool.network(index)
    with PeakMemory(run.device) as memory:
        step(1)
        step(2)
    return memory.peak


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times = {case: time_case(*CASES[case], folder) for case in CASES}
        peaks = {
            f"{members} members, ipc {ipc}": peak(folder, ipc=ipc, members=members)
            for members, ipc in ((3, 10), (9, 10), (27, 10), (9, 20), (9, 50))
        }
    rows = [
        (
            case,
            f"{1e3 * t['ddkit']:.1f} ms",
            f"{1e3 * t['floor']:.1f} ms",
            f"{t['ddkit'] / t['floor']:.3f}",
        )
        for case, t in times.items()
    ]
    rows += [
        (f"peak live tensors, {case}", f"{value / 1e6:.2f} MB", "", "")
        for case, value in peaks.items()
    ]
    write(
        "teddy_step",
        {"seconds": times, "peak_bytes": peaks},
        rows,
        ["n = 3 members, 100 or 20 images", "ddkit", "floor", "ratio"],
        "Medians of steps taken in turn; the first two are left out.",
    )


if __name__ == "__main__":
    main()

"""Runs, pools and sets of made-up images: neither pixels nor weights change what a step costs."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.distilled.writing import write_distilled
from ddkit.labels import HardLabels
from ddkit.methods.options import MethodOptions
from ddkit.pipeline.prepare import describe
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage, pool_description
from ddkit.pools.pool import Pool
from ddkit.pools.tasks import Member, MemberTask, TaskContext
from ddkit.pools.training import train_pool
from ddkit.run import Run
from ddkit.synthesis.images import Synthetic, stored
from ddkit.synthesis.initial import initial_real

Shape = tuple[int, int, int]


def split_of(images: int, shape: Shape, classes: int) -> Split:
    """Return a split of random pixels, each class as often as the others."""
    pixels = torch.randint(
        256, (images, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    names = tuple(str(number) for number in range(classes))
    return Split(pixels, torch.arange(images) % classes, names)


def run_of(
    method: str,
    network: str,
    shape: Shape,
    folder: Path,
    device: torch.device,
    *,
    classes: int = 10,
    ipc: int = 1,
    images: int = 0,
    train: Split | None = None,
    settings: Sequence[str] = (),
    **flags: Any,
) -> Run:
    """Return a run on `train`, or so many random images; by default twice those that it distils."""
    common = {
        "ipc": ipc,
        "network": network,
        "threads": torch.get_num_threads(),
        "device": str(device),
        **flags,
    }
    config = resolve(Request(method, common, {"name": "digits"}, settings, "none"))
    train = train or split_of(images or 2 * classes * ipc, shape, classes)
    space = InputSpace.fit(train, "standard").to(device)
    return Run(config, MethodOptions(), train, None, space, device, folder)


def pool_of(
    run: Run, role: str, *, tasks: int = 1, epochs: Sequence[int] = (0,), name: str = "pool"
) -> Pool:
    """Return a pool of untrained networks: `tasks` files, each with a member per epoch."""
    folder = run.folder / name
    stage = run.config.pool_stage("synthesis")
    made = [
        MemberTask(f"{role}-{index:04d}", partial(_untrained, run, role, index, epochs))
        for index in range(tasks)
    ]
    description = pool_description(Stage(run, "synthesis").pool_run, stage)
    train_pool(made, folder, description, run.space, run.device)
    return Pool.open(folder, run.device)


def _untrained(
    run: Run, role: str, index: int, epochs: Sequence[int], context: TaskContext
) -> Iterator[tuple[int, Member]]:
    for epoch in epochs:
        network = run.network(run.generator(f"{role} network", index, epoch))
        state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
        yield epoch, Member(state, role, epoch, epoch)


def set_of(run: Run) -> DistilledDataset:
    """Return the set of a run's initial images with hard labels, as evaluation takes it."""
    classes = torch.arange(len(run.classes)).repeat_interleave(run.ipc)
    images = Synthetic(stored(initial_real(run), "uint8"), classes)
    path = run.folder / "made-up.safetensors"
    write_distilled(path, images, HardLabels(classes), run.space, describe(run))
    return load(path)

"""Where the images of a run start: real ones, noise, or those of a set that exists."""

import torch
from torch import Tensor

from ddkit.run import Run
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.shards import Shard


def initial_inputs(run: Run, shard: Shard) -> Tensor:
    """Return where a shard's images start, as network inputs on the CPU.

    Real images are the same for every method and every cut into shards: image i of class c is
    number i of a shuffle of that class that follows from the seed.
    """
    if run.config.init == "noise":
        return torch.randn(
            len(shard), *run.shape, generator=run.generator("initial noise", shard.index)
        )
    images = initial_real(run, shard.slots) if run.start is None else run.start(shard.slots)
    return run.space.to("cpu").encode(images)


def initial_real(run: Run, slots: Tensor | None = None) -> Tensor:
    """Return random real images for these slots (int64; all), float32 in data space."""
    slots = torch.arange(run.total) if slots is None else slots
    rows = torch.cat([_chosen(run, label) for label in range(len(run.classes))])
    return run.train.take(rows[slots]).float() / 255


def check_initial(run: Run) -> None:
    """Raise `DdkitError` where the images have nothing to start from, before work begins."""
    if run.config.init == "real":
        for label in range(len(run.classes)):
            _chosen(run, label)
    elif run.start is not None:
        run.start(torch.arange(1))


def _chosen(run: Run, label: int) -> Tensor:
    """Return the ipc training images that a class starts from."""
    members = (run.train.labels == label).nonzero().flatten()
    if len(members) < run.ipc:
        raise DdkitError(
            f"class '{run.classes[label]}' has {len(members)} training images, fewer than --ipc "
            f"{run.ipc}: lower --ipc, leave the class out (--classes) or use --init noise"
        )
    order = torch.randperm(len(members), generator=run.generator("initial", label))
    return members[order[: run.ipc]]

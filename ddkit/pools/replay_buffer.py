"""Replay buffers of MTT, TESLA and FTD (`replay_buffer_*.pt`): read without trust, checked whole.

Such a file is `torch.save` of a list of experts; each is a list of snapshots, before training and
after every epoch; each snapshot is a list of the tensors of `network.parameters()`, in their order.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddkit import networks
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress

Snapshot = list[Tensor]
Trajectory = list[Snapshot]


@dataclass(frozen=True)
class Layout:
    """How a snapshot's tensors are a network's weights.

    Attributes:
        spec: the network.
        parameters: the shape of each parameter by name, in the order of `network.parameters()`.
        state: for each name of the state dict the number of its parameter; tied ones share it.
    """

    spec: str
    parameters: Mapping[str, tuple[int, ...]]
    state: Mapping[str, int]


def read_buffer(path: Path) -> list[Trajectory]:
    """Return a replay buffer as [expert][epoch][parameter], memory-mapped where its format allows.

    Nothing in the file is executed. Raises `DdkitError` for a file with more than tensors in it,
    and for one that is no list of lists of lists of floating-point tensors.
    """
    if not path.is_file():
        raise DdkitError(f"no such file: {path}")
    try:  # only the zip format of torch 1.6 and later can be mapped
        buffer = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # torch raises many kinds for what is not a file of tensors
        raise DdkitError(
            f"{path} is truncated or holds more than tensors ({type(error).__name__}); nothing in "
            "it was executed: name files replay_buffer_*.pt of MTT, TESLA or FTD"
        ) from error
    if not _is_buffer(buffer):
        raise DdkitError(
            f"{path} is not a replay buffer: it must be a list of experts, each a list of "
            "snapshots, each a list of floating-point tensors, as MTT, TESLA and FTD write it"
        )
    return buffer  # type: ignore[no-any-return]


def layout_of(spec: str, classes: int, shape: tuple[int, int, int]) -> Layout:
    """Return how snapshots of a network are laid out; refuses one with more than parameters."""
    network = networks.create(spec, classes=classes, shape=shape, generator=torch.Generator())
    parameters = dict(network.named_parameters())
    numbers = {id(parameter): number for number, parameter in enumerate(parameters.values())}
    state = network.state_dict(keep_vars=True)
    buffers = [name for name, tensor in state.items() if id(tensor) not in numbers]
    if buffers:
        raise DdkitError(
            f"--network {spec} has running statistics or other buffers ({buffers[0]}), but a "
            "replay buffer holds parameters only: use a network without, such as convnet"
        )
    return Layout(
        spec,
        {name: tuple(parameter.shape) for name, parameter in parameters.items()},
        {name: numbers[id(tensor)] for name, tensor in state.items()},
    )


def check_files(files: Sequence[Path], layout: Layout, progress: Progress) -> tuple[int, int]:
    """Return how many experts the files hold and for how many epochs; refuses what is not whole."""
    lengths = []
    with progress.task("check", len(files)) as task:
        for path in files:
            for expert, trajectory in enumerate(read_buffer(path)):
                where = f"{path}, expert {expert}"
                check_trajectory(trajectory, layout, where)
                lengths.append(len(trajectory))
                if lengths[-1] != lengths[0]:
                    raise DdkitError(
                        f"{where}: it has {lengths[-1]} snapshots, but the first expert has "
                        f"{lengths[0]}: import trajectories of one length"
                    )
            task.advance()
    return len(lengths), lengths[0] - 1


def check_trajectory(trajectory: Trajectory, layout: Layout, where: str) -> None:
    """Raise `DdkitError` unless all snapshots are finite weights of the network, and they move."""
    advice = (
        "name the network that was trained, such as --network convnet:depth=3:width=128, and the "
        "data with --classes and --resize as they were"
    )
    for epoch, snapshot in enumerate(trajectory):
        if len(snapshot) != len(layout.parameters):
            raise DdkitError(
                f"{where}, epoch {epoch}: {len(snapshot)} tensors for the "
                f"{len(layout.parameters)} parameters of --network {layout.spec}: {advice}"
            )
        for tensor, (name, shape) in zip(snapshot, layout.parameters.items(), strict=True):
            if tuple(tensor.shape) != shape:
                raise DdkitError(
                    f"{where}, epoch {epoch}: a tensor of {list(tensor.shape)} for the parameter "
                    f"{name} of {list(shape)} of --network {layout.spec}: {advice}"
                )
            if not torch.isfinite(tensor).all():
                raise DdkitError(
                    f"{where}, epoch {epoch}: {name} holds values that are not finite: this "
                    "training diverged, leave the file out or train its experts again"
                )
    if len(trajectory) > 1 and all(map(torch.equal, trajectory[0], trajectory[-1])):
        raise DdkitError(
            f"{where}: the last snapshot equals the first: MTT's buffer.py on a CPU stores the "
            "trained network again and again; train the experts on a GPU, or with ddkit"
        )


def _is_buffer(value: Any) -> bool:
    """Return whether a value is [expert][epoch][parameter], no list of them empty."""

    def lists(items: Any) -> bool:
        return isinstance(items, list | tuple) and len(items) > 0

    return lists(value) and all(
        lists(trajectory)
        and all(
            lists(snapshot)
            and all(isinstance(t, Tensor) and t.is_floating_point() for t in snapshot)
            for snapshot in trajectory
        )
        for trajectory in value
    )

"""Experts that another project trained become a pool in the cache, as one that ddkit trained."""

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ddkit import networks
from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.data.sources import selection
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.pools import replay_buffer
from ddkit.pools.pool import POOL_VERSION, read_description
from ddkit.pools.replay_buffer import Layout
from ddkit.pools.trust import predictions, sample, share
from ddkit.runtime.cache import cache_folder, stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import locked, remove_temporaries, write_json
from ddkit.runtime.progress import Progress, Silent
from ddkit.runtime.tensors import write_tensors

Dtype = Literal["float32", "bfloat16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OWN_FILES = re.compile(r"expert-\d+\.safetensors|space\.safetensors|\..*")


@dataclass(frozen=True)
class Imported:
    """A pool of imported experts; each has its network before training and after each epoch."""

    folder: Path
    experts: int
    epochs: int


def import_replay(
    files: Sequence[Path],
    data: DataOptions,
    network: str,
    *,
    name: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dtype: Dtype = "float32",
    progress: Progress | None = None,
) -> Imported:
    """Write the experts of replay buffers into the cache as a pool, one file each.

    All files are checked before anything is written; no more than one expert is held in memory.
    The same import twice gives the pool that is there.

    Args:
        files: replay buffers; the experts are numbered over all of them, in this order.
        data: what the experts were trained on.
        network: the spec of their network.
        name: of the pool; None for "imported-" and a hash of its content.
        mean, std: how the experts' project standardised pixels in [0, 1], one value per channel;
            None for those of the data.
        dtype: how weights are stored.

    Raises:
        DdkitError: a file holds anything but whole, finite trajectories of this network, the
            constants do not fit the data, or another pool has this name.
    """
    _check_name(name)
    progress = progress or Silent()
    train = sources.load(data, "train", progress=progress)
    train, _ = selection.split_holdout(train, data.holdout, 0)
    space = space_of(train, data, mean, std)
    layout = replay_buffer.layout_of(network, len(train.classes), train.shape)
    experts, epochs = replay_buffer.check_files(files, layout, progress)
    description = describe(files, train, data, layout, space, dtype)
    folder = cache_folder("pools") / (name or f"imported-{description['content']}")
    with locked(folder, "the pool", wait=True):
        if not _holds(folder, description["content"]):
            measured = Measured(layout, train, space)
            _write(folder, files, measured, description, experts, progress)
    return Imported(folder, experts, epochs)


def space_of(
    train: Split, data: DataOptions, mean: Sequence[float] | None, std: Sequence[float] | None
) -> InputSpace:
    """Return the experts' input space: fitted to the data, or of the constants that are given."""
    if mean is None and std is None:
        return InputSpace.fit(train, data.space)
    if mean is None or std is None:
        raise DdkitError("--mean and --std belong together: give both, or neither")
    if data.space != "standard":
        raise DdkitError(f"--mean and --std are for --space standard, not {data.space}")
    channels = train.shape[0]
    for flag, values in (("--mean", mean), ("--std", std)):
        if len(values) != channels:
            raise DdkitError(
                f"{flag} has {len(values)} values, but the images of {data.name} have {channels} "
                "channels: give one for each, comma-separated"
            )
    space = InputSpace(torch.tensor([*map(float, mean)]), torch.tensor([*map(float, std)]))
    if not (space.mean.isfinite().all() and space.std.isfinite().all() and (space.std > 0).all()):
        raise DdkitError("--mean must be finite, and --std finite and above 0")
    return space


def describe(
    files: Sequence[Path],
    train: Split,
    data: DataOptions,
    layout: Layout,
    space: InputSpace,
    dtype: Dtype,
) -> dict[str, Any]:
    """Return what the pool says of itself; "content" is a hash of all but the files' names."""
    description = {
        "version": POOL_VERSION,
        "plugin": "imported",
        "options": {},
        "network": layout.spec,
        "network_fingerprint": networks.spec_fingerprint(layout.spec),
        "data": train.fingerprint,
        "mirror": train.mirror,
        "data_name": data.tag,
        "classes": len(train.classes),
        "shape": list(train.shape),
        "space": space.fingerprint(),
        "dtype": dtype,
        "seed": None,
        "device": "cpu",
    }
    content = stable_hash([description, [_digest(path) for path in files]])
    return {**description, "content": content, "from": [path.name for path in files]}


def _check_name(name: str | None) -> None:
    if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
        raise DdkitError(f"--name {name}: use letters, digits, '.', '_' and '-' only")


def _holds(folder: Path, content: str) -> bool:
    """Return whether a folder is this pool already; raises `DdkitError` where it is another."""
    if (folder / "pool.json").exists():
        if read_description(folder).get("content") == content:
            return True
    elif all(OWN_FILES.fullmatch(path.name) for path in folder.iterdir()):
        return False  # new, or what a killed import left
    raise DdkitError(
        f"there is already another pool '{folder.name}': choose another --name, or delete that "
        f"one (ddkit pool prune {folder.name})"
    )


def _write(
    folder: Path,
    files: Sequence[Path],
    measured: "Measured",
    description: Mapping[str, Any],
    experts: int,
    progress: Progress,
) -> None:
    """Write the pool, expert by expert, what completes it last; on failure nothing remains."""
    try:
        remove_temporaries(folder)
        for left in folder.glob("*.safetensors"):
            left.unlink()
        write_tensors(folder / "space.safetensors", measured.space.tensors())
        tasks = []
        with progress.task("import", experts) as task:
            for number, trajectory in enumerate(_trajectories(files)):
                tasks.append(f"expert-{number:04d}")
                _write_expert(
                    folder / f"{tasks[-1]}.safetensors", trajectory, measured, description["dtype"]
                )
                task.advance()
        write_json(folder / "pool.json", {**description, "tasks": tasks})
    except BaseException:
        shutil.rmtree(folder)
        raise


def _trajectories(files: Sequence[Path]) -> Iterator[replay_buffer.Trajectory]:
    for path in files:
        yield from replay_buffer.read_buffer(path)


@dataclass(frozen=True)
class Measured:
    """How experts are measured: on some of their training images, for whether they converged."""

    layout: Layout
    train: Split
    space: InputSpace

    @cached_property
    def images(self) -> tuple[Tensor, Tensor]:
        rows, labels = sample(self.train)
        return self.train.take(rows).float() / 255, labels

    def accuracy(self, snapshot: Sequence[Tensor]) -> float:
        """Return the share (0 … 1) of the images that a snapshot of an expert gets right."""
        network = networks.create(
            self.layout.spec,
            classes=len(self.train.classes),
            shape=self.train.shape,
            generator=torch.Generator(),
        )
        network.load_state_dict({name: snapshot[at] for name, at in self.layout.state.items()})
        pixels, labels = self.images
        return share(predictions(network.eval(), pixels, self.space.encode), labels)


def _write_expert(
    path: Path, trajectory: replay_buffer.Trajectory, measured: Measured, dtype: str
) -> None:
    """Write a trajectory as the members of one task, as `training.train_pool` would."""
    layout = measured.layout
    tensors = {
        f"{epoch}.state.{name}": snapshot[place].to(DTYPES[dtype])
        for epoch, snapshot in enumerate(trajectory)
        for name, place in layout.state.items()
    }
    shared: dict[str, Any] = {"role": "expert", "step": 0, "figures": {}, "pruning": None}
    members = [{**shared, "number": epoch, "epoch": epoch} for epoch in range(len(trajectory))]
    members[-1]["figures"] = {"train_accuracy": measured.accuracy(trajectory[-1])}
    write_tensors(path, tensors, {"members": members})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

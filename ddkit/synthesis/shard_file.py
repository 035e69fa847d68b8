"""The file that a finished shard leaves, and the whole set that all of them hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddkit.data.formation import parts_of
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.synthesis.images import Synthetic, stored
from ddkit.synthesis.shards import Shard

FOLDER = "shards"
IMAGES = ("images", "classes", "learning_rate", "label_logits")  # the fields of `Synthetic`
CHECKPOINT = ".checkpoint.safetensors"


@dataclass(frozen=True)
class ShardFile:
    """A shard's file in a run's folder: its images, where they started, and the loss of each step.

    Attributes:
        path: of the file; it exists once the shard is finished.
    """

    path: Path

    @classmethod
    def of(cls, run_folder: Path, index: int) -> "ShardFile":
        """Return the file of the shard of this number."""
        return cls(run_folder / FOLDER / f"shard-{index:05d}.safetensors")

    @classmethod
    def all_in(cls, run_folder: Path) -> "list[ShardFile]":
        """Return the files of the shards that are finished, by number."""
        paths = sorted((run_folder / FOLDER).glob("shard-*.safetensors"))
        return [cls(path) for path in paths if not path.name.endswith(CHECKPOINT)]

    @property
    def checkpoint(self) -> Path:
        """Where the shard's state is kept until it is finished."""
        return self.path.with_suffix(CHECKPOINT)

    def exists(self) -> bool:
        return self.path.exists()

    def write(
        self, shard: Shard, images: Synthetic, initial: Tensor, losses: Tensor, peak_bytes: int
    ) -> None:
        """Write a finished shard, whole or not at all.

        Args:
            initial: (n, channels, height, width), where the images started, in data space.
            losses: (steps,).
            peak_bytes: of its first steps.
        """
        tensors = {**packed(images), "initial": initial, "slots": shard.slots, "losses": losses}
        write_tensors(self.path, tensors, {"peak_bytes": peak_bytes})

    @cached_property
    def _file(self) -> TensorFile:
        return TensorFile(self.path)

    @property
    def slots(self) -> Tensor:
        """int64 (n,), which images of the whole set these are."""
        return self._file["slots"]

    @property
    def initial(self) -> Tensor:
        return self._file["initial"]

    @property
    def losses(self) -> Tensor:
        return self._file["losses"]

    @property
    def peak_bytes(self) -> int:
        return int(self._file.metadata["peak_bytes"])

    @property
    def images(self) -> Synthetic:
        found: dict[str, Any] = {name: self._file[name] for name in IMAGES if name in self._file}
        if "learning_rate" in found:
            found["learning_rate"] = float(found["learning_rate"])
        return Synthetic(**found)


def packed(images: Synthetic) -> dict[str, Tensor]:
    """Return finished images as named tensors."""
    tensors = {"images": images.images, "classes": images.classes}
    if images.label_logits is not None:
        tensors["label_logits"] = images.label_logits
    if images.learning_rate is not None:
        tensors["learning_rate"] = torch.tensor(images.learning_rate, dtype=torch.float64)
    return tensors


def write_snapshot(path: Path, shard: Shard, images: Synthetic) -> None:
    """Write what the images of a shard are on the way."""
    write_tensors(path, {**packed(images), "slots": shard.slots})


def assembled(files: Sequence[ShardFile], store: str, factor: int = 1) -> Synthetic:
    """Return finished shards as one class-major set, its images in the form of `store`.

    A learning rate is the mean of theirs.
    """
    order = torch.cat([file.slots for file in files]).argsort()
    parts = [file.images for file in files]
    rates = [part.learning_rate for part in parts if part.learning_rate is not None]
    logits = [part.label_logits for part in parts if part.label_logits is not None]
    return Synthetic(
        stored(torch.cat([part.images for part in parts]), store)[order],
        torch.cat([part.classes for part in parts])[order],
        sum(rates) / len(rates) if rates else None,
        torch.cat(logits)[parts_of(order, factor)] if len(logits) == len(parts) else None,
        factor,
    )


def initial_images(run_folder: Path, count: int) -> Tensor | None:
    """Return where the images of a run started, (count, channels, height, width); None if unknown.

    They are in data space.
    """
    files = ShardFile.all_in(run_folder)
    if not files or sum(len(file.slots) for file in files) != count:
        return None
    order = torch.cat([file.slots for file in files]).argsort()
    return torch.cat([file.initial for file in files])[order]

"""Labels of a distilled set: hard, soft, or soft for each epoch with the augmentation to replay."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit.data.views import STORED, Views, render
from ddkit.errors import DdkitError

Images = Tensor | Callable[[Tensor], Tensor]
"""Pixels of a whole set (N, channels, height, width), or a function from rows (B,) to pixels."""


class Labels(ABC):
    """What a network is trained towards; soft ones are logits, `temperature` softens both sides."""

    kind: ClassVar[str]
    temperature: float = 1.0

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what the artifact stores, by name."""

    @abstractmethod
    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        """Return int64 classes (B,) or float32 logits (B, classes) of `rows` in an epoch."""

    @abstractmethod
    def to(self, device: torch.device) -> "Labels":
        """Return the same labels on `device`."""

    def view(self, images: Images, rows: Tensor, epoch: int) -> Tensor:
        """Return what the network sees of `rows`: of all `images`, those rows, augmented or not."""
        return images[rows] if isinstance(images, Tensor) else images(rows)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the 0-dim training loss of (B, classes) logits against `targets`."""
        if targets.dtype == torch.int64:
            return F.cross_entropy(logits, targets)
        return soft_cross_entropy(logits, targets, self.temperature)

    @property
    def bytes(self) -> int:
        """The bytes the labels take in the artifact."""
        return sum(tensor.nbytes for tensor in self.tensors().values())


@dataclass
class HardLabels(Labels):
    """One class per image: int64 (N,)."""

    classes: Tensor
    kind: ClassVar[str] = "hard"

    def tensors(self) -> dict[str, Tensor]:
        return {}  # the artifact stores the classes always

    def to(self, device: torch.device) -> "HardLabels":
        return HardLabels(self.classes.to(device))

    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        return self.classes[rows]


@dataclass
class SoftLabels(Labels):
    """One vector of logits per image: (N, classes), float16 or float32."""

    logits: Tensor
    temperature: float = 1.0
    kind: ClassVar[str] = "soft"

    def tensors(self) -> dict[str, Tensor]:
        return {"labels.logits": self.logits}

    def to(self, device: torch.device) -> "SoftLabels":
        return SoftLabels(self.logits.to(device), self.temperature)

    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        return self.logits[rows].float()


@dataclass
class EpochLabels(Labels):
    """Logits of a new augmentation of each image in every epoch: (epochs, N, classes).

    The augmentations are kept as parameters (`views` has epochs · N rows, epoch by epoch) and
    replayed, so that batch size and order are free. Training for longer starts over.
    """

    logits: Tensor
    views: Views
    temperature: float = 1.0
    kind: ClassVar[str] = "epoch"

    @property
    def epochs(self) -> int:
        return len(self.logits)

    def tensors(self) -> dict[str, Tensor]:
        return {"labels.logits": self.logits, **self.views.tensors("labels.views")}

    def to(self, device: torch.device) -> "EpochLabels":
        return EpochLabels(self.logits.to(device), self.views.to(device), self.temperature)

    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        return self.logits[epoch % self.epochs][rows].float()

    def view(self, images: Images, rows: Tensor, epoch: int) -> Tensor:
        return render(images, self.views_of(epoch), rows)

    def views_of(self, epoch: int) -> Views:
        """Return the augmentations of all N images in one epoch."""
        count = self.logits.shape[1]
        start = epoch % self.epochs * count
        return self.views.rows(torch.arange(start, start + count, device=self.views.crop.device))


def joined(views: Sequence[Views]) -> Views:
    """Return the views of all epochs as one, epoch by epoch; they share their kind of mix."""
    parts: dict[str, Any] = {
        name: torch.cat([getattr(view, name) for view in views]) for name in STORED
    }
    return replace(views[0], **parts)


def soft_cross_entropy(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return KL(softmax(targets / T) ‖ softmax(logits / T)), averaged over the batch, 0-dim.

    As in SRe2L, without the factor T² of Hinton et al. (2015): AdamW does not feel a factor.

    Args:
        logits, targets: (B, classes).
        temperature: T > 0.
    """
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(targets / temperature, dim=1)
    return (teacher.exp() * (teacher - student)).sum() / len(logits)  # F.kl_div has no vmap rule


def labels_from(kind: str, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> Labels:
    """Return the labels that an artifact stores; raises `DdkitError` for an unknown kind."""
    if kind == "hard":
        return HardLabels(tensors["classes"])
    if kind == "soft":
        return SoftLabels(tensors["labels.logits"], info["temperature"])
    if kind == "epoch":
        views = Views.from_tensors(tensors, "labels.views")
        return EpochLabels(tensors["labels.logits"], views, info["temperature"])
    raise DdkitError(f"labels of kind '{kind}' are unknown to this version of ddkit: update it")

"""Labels without augmentation: the class of each image, or one vector of logits or targets."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit.labels.coded import Logits, about_logits, form_of, sent_logits, tensors_of
from ddkit.runtime.moving import sent

Images = Tensor | Callable[[Tensor], Tensor]
"""Pixels of a whole set (N, channels, height, width), or a function from rows (B,) to pixels."""


class Labels(ABC):
    """What a network is trained towards; soft ones are logits, `temperature` softens both sides."""

    kind: ClassVar[str]
    plain: ClassVar[bool] = False  # whether a network sees the pixels as they are
    temperature: float = 1.0

    @abstractmethod
    def batch(self, images: Images, rows: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return what a network sees of `rows` (B,) in an epoch, and what it is trained towards.

        Pixels are those rows of all `images`, augmented or not, on the device of `rows`; targets
        int64 classes (B,) or float32 vectors (B, classes) of just these pixels.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what the artifact stores, by name."""

    @abstractmethod
    def to(self, device: torch.device) -> "Labels":
        """Return the same labels, for rows that are on `device`."""

    def about(self) -> dict[str, Any]:
        """Return what `labels_from` must know beside the tensors, as JSON."""
        return {}

    @property
    def form(self) -> str:
        """How the labels are stored: "classes", "fp16", "int8", "top-k:3", "recipe" …"""
        return "classes"

    @property
    def epochs(self) -> int:
        """How many epochs have labels of their own."""
        return 1

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the 0-dim training loss of (B, classes) logits against `targets`."""
        if targets.dtype == torch.int64:
            return F.cross_entropy(logits, targets)
        return soft_cross_entropy(logits, targets, self.temperature)

    @property
    def bytes(self) -> int:
        """The bytes the labels take in the artifact, with those of their views."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    @property
    def view_bytes(self) -> int:
        """The bytes that stored augmentations take of these."""
        stored = self.tensors().items()
        return sum(tensor.nbytes for name, tensor in stored if name.startswith("labels.views."))


class StoredLabels(Labels):
    """Labels that are there for every row, whatever the pixels."""

    @abstractmethod
    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        """Return int64 classes (B,) or float32 vectors (B, classes) of `rows` in an epoch."""

    def view(self, images: Images, rows: Tensor, epoch: int) -> Tensor:
        """Return what the network sees of `rows`: of all `images`, those rows, augmented or not."""
        return images[rows] if isinstance(images, Tensor) else images(rows)

    def batch(self, images: Images, rows: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        return self.view(images, rows, epoch), self.targets(rows, epoch)


@dataclass
class HardLabels(StoredLabels):
    """One class per image: int64 (N,)."""

    classes: Tensor
    kind: ClassVar[str] = "hard"
    plain: ClassVar[bool] = True

    def tensors(self) -> dict[str, Tensor]:
        return {}  # the artifact stores the classes always

    def to(self, device: torch.device) -> "HardLabels":
        return HardLabels(sent(self.classes, device))

    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        return self.classes[rows]


@dataclass
class SoftLabels(StoredLabels):
    """One vector of logits per image: (N, classes), float16, float32 or coded."""

    logits: Logits
    temperature: float = 1.0
    kind: ClassVar[str] = "soft"
    plain: ClassVar[bool] = True

    @property
    def form(self) -> str:
        return form_of(self.logits)

    def tensors(self) -> dict[str, Tensor]:
        return tensors_of(self.logits, "labels.logits")

    def about(self) -> dict[str, Any]:
        return about_logits(self.logits)

    def to(self, device: torch.device) -> "SoftLabels":
        return SoftLabels(sent_logits(self.logits, device), self.temperature)

    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        return self.logits[rows].float()


@dataclass
class RegressionTargets(StoredLabels):
    """Numbers that outputs themselves are fitted to by squared error: float32 (N, classes).

    The largest says the class. They are neither logits nor probabilities: the softmax of one-hot
    vectors minus 1 / classes, which methods start from, is almost the same for all classes.
    """

    values: Tensor
    kind: ClassVar[str] = "targets"
    plain: ClassVar[bool] = True

    @classmethod
    def of_classes(cls, classes: Tensor, count: int) -> "RegressionTargets":
        """Return those of real images: one-hot of int64 `classes` (N,), minus 1 / `count`."""
        return cls(F.one_hot(classes, count).float() - 1 / count)

    @property
    def form(self) -> str:
        return "fp32"

    def tensors(self) -> dict[str, Tensor]:
        return {"labels.targets": self.values}

    def to(self, device: torch.device) -> "RegressionTargets":
        return RegressionTargets(sent(self.values, device))

    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        return self.values[rows]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return half the squared error, averaged over images and classes, 0-dim."""
        return 0.5 * F.mse_loss(logits, targets)


def soft_cross_entropy(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return KL(softmax(targets / T) ‖ softmax(logits / T)), averaged over the batch, 0-dim.

    As in SRe2L, without the factor T² of Hinton et al. (2015): AdamW is invariant to a factor.

    Args:
        logits, targets: (B, classes).
        temperature: T > 0.
    """
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(targets / temperature, dim=1)
    return (teacher.exp() * (teacher - student)).sum() / len(logits)  # F.kl_div has no vmap rule

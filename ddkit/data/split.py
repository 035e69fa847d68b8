"""A split: labelled images in memory, as they are before any augmentation or normalisation."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Labelled images of one size.

    Attributes:
        images: uint8 (N, channels, height, width), 0 … 255.
        labels: int64 (N,), 0 … classes - 1.
        classes: the names of the classes, in label order.
        mirror: whether a mirrored image keeps its class (not so for digits and letters).
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mirror: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def counts(self) -> Tensor:
        """The number of images of each class, int64 (classes,)."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of pixels, labels and class names: equal content, equal fingerprint."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((tuple(self.images.shape), self.classes)).encode())
        digest.update(self.images.contiguous().numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()

    def subset(self, indices: Tensor) -> "Split":
        """Return the split that holds the images at `indices` (int64), in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

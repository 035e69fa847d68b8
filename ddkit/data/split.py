"""A split: labelled images, as they are before any augmentation or normalisation."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ddkit.data.pixels.base import Pixels, pixels_of
from ddkit.runtime.errors import DdkitError


@dataclass(frozen=True)
class Split:
    """Labelled images of one size.

    Attributes:
        images: uint8 (N, channels, height, width), 0 … 255; or where else the pixels are, if not in
            memory. `take` and `pixels` serve either.
        labels: int64 (N,), 0 … classes - 1.
        classes: the names of the classes, in label order.
        mirror: whether a mirrored image keeps its class (not so for digits and letters).
    """

    images: Tensor | Pixels
    labels: Tensor
    classes: tuple[str, ...]
    mirror: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def pixels(self) -> Pixels:
        """The images, wherever they are."""
        return pixels_of(self.images)

    def take(self, indices: Tensor) -> Tensor:
        """Return the images at `indices` (int64), uint8 (B, channels, height, width)."""
        return self.pixels.take(indices)

    @cached_property
    def counts(self) -> Tensor:
        """The number of images of each class, int64 (classes,)."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of pixels, labels and class names: equal content, equal fingerprint.

        It is the same for images in memory and in a mapped file. Of images in files that are
        decoded when they are taken, it is a hash of the files.
        """
        labels = self.labels.contiguous().numpy().data
        named = hashlib.blake2b(repr(self.classes).encode(), digest_size=8)
        named.update(labels)

        def compute() -> str:
            digest = hashlib.blake2b(digest_size=16)
            digest.update(repr((tuple(self.images.shape), self.classes)).encode())
            self.pixels.feed(digest)
            digest.update(labels)
            return digest.hexdigest()

        return str(self.pixels.remember(f"fingerprint-{named.hexdigest()}", compute))

    def subset(self, indices: Tensor) -> "Split":
        """Return the split that holds the images at `indices` (int64), in that order."""
        if isinstance(self.images, Tensor):
            return replace(self, images=self.images[indices], labels=self.labels[indices])
        return replace(self, images=self.images.subset(indices), labels=self.labels[indices])


def check_classes(count: int, place: str) -> None:
    """Raise `DdkitError` where there are too few classes to tell apart."""
    if count < 2:
        raise DdkitError(
            f"{place} has {count} class to tell apart, but needs at least two: add images of "
            "another class, or name more with --classes"
        )

"""Synthetic images: finished, and in the form in which they are stored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ddkit.data.formation import unpacked


def as_pixels(images: Tensor) -> Tensor:
    """Return stored images as float32 in data space: uint8 0 … 255 becomes 0 … 1."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def stored(images: Tensor, how: str) -> Tensor:
    """Return images as the artifact stores them.

    Args:
        images: float32 in data space, or uint8.
        how: "uint8", "float16", "float32", or "auto": uint8 where all values are valid pixels,
            else float32, because methods that leave the range mean it.
    """
    if images.dtype == torch.uint8:
        return images
    if how == "auto":
        tolerance = 1e-3  # normalising and back rounds a little beyond 0 and 1
        valid = images.min() >= -tolerance and images.max() <= 1 + tolerance
        how = "uint8" if valid else "float32"
    if how == "uint8":
        return images.mul(255).round().clamp(0, 255).to(torch.uint8)
    return images.to(torch.float16 if how == "float16" else torch.float32)


@dataclass(frozen=True)
class Synthetic:
    """Finished images in data space, before they are labelled.

    Attributes:
        images: (n, channels, height, width) float32, nominally 0 … 1, or uint8 0 … 255.
        classes: int64 (n,).
        learning_rate: the student's, where the method learned one (β of TESLA).
        label_logits: (n · factor², classes) float32, where the method learned labels.
        factor: of multi-formation: each image holds factor² training images.
    """

    images: Tensor
    classes: Tensor
    learning_rate: float | None = None
    label_logits: Tensor | None = None
    factor: int = 1

    def __len__(self) -> int:
        return len(self.classes)

    def decoded(self) -> "Synthetic":
        """Return the training images that these hold, as labels are made for them."""
        if self.factor == 1:
            return self
        images = unpacked(as_pixels(self.images), self.factor)
        classes = self.classes.repeat_interleave(self.factor**2)
        return Synthetic(images, classes, self.learning_rate, self.label_logits)

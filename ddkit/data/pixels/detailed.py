"""Decoded images at two sizes: small ones to take, large ones to cut random boxes out of."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ddkit.data.augmentation.augment import mirrored
from ddkit.data.pixels.base import CHUNK, USUAL, Croppable, CropShape, Digest, Pixels
from ddkit.data.pixels.crops import cut, in_threads, pixel_boxes
from ddkit.runtime.progress import Progress

PASS = 256  # large images at once in a pass over all


class Detailed(Croppable):
    """Scaled images, and the same ones with more detail for crops.

    Attributes:
        scaled: the images that `take` returns.
        details: uint8 (M, channels, H, W), larger ones on the CPU, in memory or mapped.
        rows: int64 (N,), where in `details` each image is.
    """

    def __init__(self, scaled: Pixels, details: Tensor, rows: Tensor | None = None) -> None:
        self.scaled, self.details, self.shape = scaled, details, scaled.shape
        self.rows = torch.arange(len(details)) if rows is None else rows

    def take(self, indices: Tensor) -> Tensor:
        return self.scaled.take(indices)

    def subset(self, indices: Tensor) -> "Detailed":
        return Detailed(self.scaled.subset(indices), self.details, self.rows[indices])

    def chunks(self, size: int = CHUNK) -> Iterator[Tensor]:
        return self.scaled.chunks(size)

    def feed(self, digest: Digest) -> None:
        self.scaled.feed(digest)
        for rows in self.rows.split(PASS):
            digest.update(self.details.index_select(0, rows).numpy().data)

    def hashes(self, progress: Progress, files: bool = False) -> Tensor:
        return self.scaled.hashes(progress, files)

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        height, width = self.details.shape[2:]
        return self.scaled.remember(f"{name}-of-{width}x{height}", compute)

    def crops(
        self,
        indices: Tensor,
        tries: Tensor,
        flips: Tensor,
        device: torch.device | str = "cpu",
        shape: CropShape = USUAL,
    ) -> Tensor:
        """Return crops (see `Croppable`), on the CPU."""
        (height, width), size = self.details.shape[2:], shape.size or self.shape[2:]
        rows, flips = self.rows[indices.cpu()].tolist(), flips.cpu()
        boxes = pixel_boxes(tries.cpu(), [(height, width)], flips, shape)

        def crop(part: slice) -> Tensor:
            # Each image is a view: `index_select` would copy all of it, with threads of its own.
            return cut(map(self.details.__getitem__, rows[part]), boxes[part], size)

        return mirrored(in_threads(crop, len(rows)), flips)

"""What a logger hears of a synthesis: the loss of every step, and images now and then.

Losses are told in bulk when the engine reads one anyway, so that no step waits for the device.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ddkit.runtime.loggers import Logger
from ddkit.runtime.vision import torchvision
from ddkit.synthesis.images import as_pixels
from ddkit.synthesis.shard_file import ShardFile

IMAGES = 64  # of a shard, in one picture
CELL = 32  # pixels that an image is enlarged to at least


class Journal:
    """Tells a logger, if there is one, each step of each shard once."""

    def __init__(self, logger: Logger | None = None):
        self._logger = logger
        self._told: dict[int, int] = {}
        self._finished: set[int] = set()

    def begun(self, shard: int, initial: Tensor) -> None:
        """Tell where the images of a shard (N, channels, height, width), data space, start."""
        self._told[shard] = 0
        self.images(shard, lambda: initial, 0)

    def losses(self, shard: int, losses: Tensor, end: int) -> None:
        """Tell the losses before step `end` that were not told yet.

        Args:
            losses: (steps,), on any device; one copy brings the new ones here.
        """
        if self._logger is None:
            return
        first = self._told[shard]
        for step, loss in enumerate(losses[first:end].tolist(), first):
            self._logger.scalar(f"loss/shard {shard}", loss, step)
        self._told[shard] = end

    def images(self, shard: int, images: Callable[[], Tensor], step: int) -> None:
        """Tell what the images of a shard (N, channels, height, width), data space, look like."""
        if self._logger is not None:
            self._logger.picture(f"images/shard {shard}", picture(images()), step)

    def finished(self, shard: int, file: ShardFile) -> None:
        """Tell what is untold of a finished shard: all, if it was done elsewhere or earlier."""
        if self._logger is None or shard in self._finished:
            return
        if shard not in self._told:
            self.begun(shard, file.initial)
        losses = file.losses
        self.losses(shard, losses, len(losses))
        self.images(shard, lambda: file.images.images, len(losses))
        self._finished.add(shard)


def picture(images: Tensor) -> Tensor:
    """Return some of the images (N, channels, height, width) as one, uint8 (3, height, width)."""
    pixels = as_pixels(images[:IMAGES].detach().cpu()).clamp(0, 1)
    scale = max(1, CELL // pixels.shape[-1])
    large = pixels.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    grid: Tensor = torchvision().utils.make_grid(large, nrow=8, pad_value=1)
    return grid.mul(255).round().to(torch.uint8)

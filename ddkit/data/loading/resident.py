"""A split as bytes on the device, or streamed to it: batches by index, augmented there."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from ddkit.data.augmentation.augment import (
    draw_flips,
    draw_tries,
    random_crop,
    random_flip,
    random_resized_crop,
)
from ddkit.data.loading.batching import batches_of
from ddkit.data.loading.streaming import ahead
from ddkit.data.pixels.base import CHUNK, Croppable, InMemory, Pixels
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.memory import free_memory
from ddkit.runtime.moving import sent

Augmentation = Literal["none", "crop", "flip", "crop-flip", "rrc-flip"]
SHARE = 1 / 2  # of a device's free memory, that pixels may take beside networks
# Images at once where nothing is differentiated. On a CPU more only pass through more memory: 500
# take twice as long where blocks are not kept (runtime/allocator.py), and as long where they are.
TEST_BATCH, CUDA_TEST_BATCH = 64, 500


class Resident:
    """Serves batches of network inputs from a split that lies on the device as uint8.

    On two CPU cores more than 12 times as fast as torchvision's loader with two workers
    (`python -m benchmarks.loader`): work per image is a few memcpys and one conversion. A split
    that does not fit streams: a thread takes the bytes of the next batches while one is used
    (`python -m benchmarks.streaming`), and the batches are the same.
    """

    def __init__(self, split: Split, space: InputSpace, device: torch.device | str) -> None:
        self.split = split
        self.device = torch.device(device)
        self.pixels = on_device(split.pixels, self.device)
        self.labels = sent(split.labels, device)
        self.space = space.to(device)

    @property
    def images(self) -> Tensor:
        """All images on the device, uint8; a copy of them where they stream."""
        if isinstance(self.pixels, InMemory) and not self.streams:
            return self.pixels.images
        return self._bytes(torch.arange(len(self)))

    @property
    def streams(self) -> bool:
        """Whether batches come from elsewhere than the device's memory."""
        pixels = self.pixels
        return not isinstance(pixels, InMemory) or pixels.images.device.type != self.device.type

    @property
    def resident_bytes(self) -> int:
        """What the images take of the device's memory, in bytes."""
        return 0 if self.streams else self.pixels.nbytes

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, indices: Tensor) -> Tensor:
        """Return the float32 network inputs of the images at `indices` (int64), unaugmented."""
        return self.space.encode_bytes(self._bytes(indices))

    def served(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Serve the inputs of the images at each of `parts` (int64), one part at a time.

        As `inputs` gives them, but the device gets the indices of all parts in one go, and bytes
        that stream are taken ahead of their use.
        """
        if parts and not self.streams:
            parts = sent(torch.cat(list(parts)), self.device).split([len(part) for part in parts])
        return map(self.space.encode_bytes, self._taken(parts))

    def batches(
        self,
        batch_size: int,
        generator: torch.Generator,
        *,
        augmentation: Augmentation = "none",
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Serve one epoch of (float32 network inputs, int64 labels).

        All randomness comes from `generator`, in the course of the epoch; the same generator
        gives the same bytes on any number of threads. Splits that forbid mirroring are not
        flipped, whatever `augmentation` says.

        Args:
            batch_size: images per batch, at least 1; the last batch may have fewer, and a single
                image joins the batch before.
            augmentation: `crop` shifts by up to an eighth of the width, `rrc` blows up a random
                box, `flip` mirrors every other image. Where there are larger images than those
                that are taken (`Croppable`), a box is cut out of these, and antialiased.
            shuffle: in a random order, or else in that of the split.
            drop_last: leave out a last batch that is not full.

        Raises:
            DdkitError: an unknown augmentation or a batch size below 1.
        """
        if augmentation not in get_args(Augmentation):
            raise unknown("augmentation", augmentation, get_args(Augmentation))
        if batch_size < 1:
            raise DdkitError(f"the batch size must be at least 1, got {batch_size}")
        return self._epoch(batch_size, generator, augmentation, shuffle, drop_last)

    def ordered(self, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Serve every image once, in the split's order, unaugmented; for evaluation.

        Args:
            batch_size: None for what suits the device.
        """
        size = TEST_BATCH if self.device.type == "cpu" else CUDA_TEST_BATCH
        return self.batches(batch_size or size, torch.Generator(), shuffle=False)

    def _epoch(
        self,
        batch_size: int,
        generator: torch.Generator,
        augmentation: Augmentation,
        shuffle: bool,
        drop_last: bool,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        count, device = len(self), self.device
        if shuffle:
            order = torch.randperm(count, generator=generator, device=generator.device)
        else:
            order = torch.arange(count)
        if drop_last:
            order = order[: count - count % batch_size]
        batches = batches_of(order if self.streams else sent(order, device), batch_size)
        cropped = "rrc" in augmentation and isinstance(self.pixels, Croppable)
        gathered = self._gathered(batches, generator, augmentation)
        for indices, images in zip(batches, gathered, strict=True):
            if cropped:
                inputs = self.space.encode_bytes(images)
            else:
                inputs = self._augmented(images, generator, augmentation)
            yield inputs, self.labels.index_select(0, sent(indices, device))

    def _gathered(
        self, batches: list[Tensor], generator: torch.Generator, augmentation: Augmentation
    ) -> Iterator[Tensor]:
        """Serve the bytes of each batch, on the device; random boxes of larger images."""
        pixels = self.pixels
        if self.streams and "rrc" in augmentation and isinstance(pixels, Croppable):
            return ahead(self._crops(pixels, batches, generator, augmentation), self.device)
        return self._taken(batches)

    def _taken(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Serve the bytes of the images at each of `parts`, on the device."""
        if not self.streams:
            return map(self.pixels.take, parts)
        return ahead((partial(self.pixels.take, indices) for indices in parts), self.device)

    def _crops(
        self,
        pixels: Croppable,
        batches: list[Tensor],
        generator: torch.Generator,
        augmentation: Augmentation,
    ) -> Iterator[Callable[[], Tensor]]:
        """Draw what `_augmented` would, and yield what cuts the boxes of each batch."""
        for indices in batches:
            flips = torch.zeros(len(indices), dtype=torch.bool)
            if "flip" in augmentation and self.split.mirror:
                flips = draw_flips(len(indices), generator)
            tries = draw_tries(len(indices), generator)
            yield partial(pixels.crops, indices, tries, flips, self.device)

    def _augmented(
        self, images: Tensor, generator: torch.Generator, augmentation: Augmentation
    ) -> Tensor:
        """Return the network inputs of augmented uint8 `images`."""
        parts = augmentation.split("-")
        # Bytes are a quarter of the floats: whatever moves pixels does so before the conversion.
        # And crops come last, for mirroring a crop, which has gaps between its rows, takes longer.
        if "flip" in parts and self.split.mirror:
            images = random_flip(images, generator)
        if "crop" in parts:
            images = random_crop(images, generator)
        if "rrc" in parts:
            pixels = random_resized_crop(images.float().div_(255), generator)
            return self.space.encode(pixels)
        return self.space.encode_bytes(images)

    def _bytes(self, indices: Tensor) -> Tensor:
        return sent(self.pixels.take(indices), self.device)


def on_device(pixels: Pixels, device: torch.device) -> Pixels:
    """Return `pixels` on the device where they fit and are all there is; else as they are."""
    if device.type == "cpu" or isinstance(pixels, Croppable):
        return pixels
    if pixels.nbytes > SHARE * free_memory(device):
        return pixels
    images = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for part, chunk in zip(torch.split(images, CHUNK), pixels.chunks(), strict=True):
        part.copy_(chunk)
    return InMemory(images)

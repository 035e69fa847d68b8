"""Where the pixels of a split are kept: in memory, in a mapped file, or in their image files.

Images for crops with more detail lie beside them, in memory or in another mapped file. What is in
memory was decoded once, too: it is the file of the cache, where that is worth it.

Which of them follows from the room they take and the memory that is free. DDKIT_TIER=memory,
mapped or encoded decides otherwise; it is no part of a configuration, for it changes no result as
long as it is not "encoded".
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, Literal, cast, get_args

import numpy as np
from torch import Tensor

from ddkit.data.pixels.base import Kept, Mapped, Pixels, pixels_of
from ddkit.data.pixels.cache import CHUNK_BYTES, Cache, Chunk, StartOver
from ddkit.data.pixels.decoding import decode
from ddkit.data.pixels.detailed import Detailed
from ddkit.data.pixels.encoded import Encoded, Store
from ddkit.data.pixels.originals import Originals
from ddkit.data.pixels.picture import VERSION, Reading
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.errors import DdkitError, Unwritable, unknown
from ddkit.runtime.files import free_disk
from ddkit.runtime.memory import free_memory
from ddkit.runtime.progress import Progress

Tier = Literal["memory", "mapped", "encoded"]
SHARE = 1 / 4  # of the free memory, that pixels may take: networks and other runs want some, too
DISK_SHARE = 1 / 4  # of the free disk, for what could be decoded again
WORTH_KEEPING = 2**22  # bytes; fewer are decoded in a fraction of a second
DECODED_SIDE = 128  # larger images would take more room decoded than most disks have


def pixels_at(images: Originals, reading: Reading, progress: Progress) -> Tensor | Pixels:
    """Return the images at one size, in the tier that suits them."""
    shape = images.shape(reading)
    tier = choose(images, shape, reading.side)
    size = f"{len(images):,} images, {len(images) * prod(shape) / 1e9:,.1f} GB decoded"
    if tier == "memory":
        return in_memory(images, shape, reading, progress)
    if tier == "mapped":
        progress.note(f"{images.title}: {size}, in a mapped file of the cache")
        return mapped(images, shape, reading, progress)
    progress.note(f"{images.title}: {size}, decoded from their files when they are used")
    return encoded(images, shape, reading, progress)


def detailed(images: Originals, reading: Reading, detail: int, progress: Progress) -> Detailed:
    """Return the images at both sides, together in memory or in two files of the cache."""
    larger = replace(reading, side=detail)
    small, large = images.shape(reading), images.shape(larger)
    taken = len(images) * (prod(small) + prod(large))
    tier = forced() or ("memory" if taken <= SHARE * free_memory() else "mapped")
    if tier == "encoded":
        raise DdkitError(
            "DDKIT_TIER=encoded cuts crops out of whole files, and --detail out of decoded images: "
            "leave one of them out"
        )
    if tier == "memory":
        scaled = pixels_of(in_memory(images, small, reading, progress))
        details = in_memory(images, large, larger, progress)
        return Detailed(scaled, details if isinstance(details, Tensor) else details.images)
    progress.note(
        f"{images.title}: {len(images):,} images, {taken / 1e9:,.1f} GB decoded, "
        "in mapped files of the cache"
    )
    return Detailed(
        mapped(images, small, reading, progress), mapped(images, large, larger, progress).images
    )


def forced() -> Tier | None:
    """Return the tier that DDKIT_TIER names, if it does."""
    name = os.environ.get("DDKIT_TIER")
    if not name:
        return None
    if name not in get_args(Tier):
        raise unknown("DDKIT_TIER", name, get_args(Tier))
    return cast(Tier, name)


def choose(images: Originals, shape: tuple[int, int, int], side: int | None) -> Tier:
    """Return the tier of images of this shape (channels, height, width)."""
    if tier := forced():
        return tier
    fits = len(images) * prod(shape) <= SHARE * free_memory()
    if max(shape[1:]) <= DECODED_SIDE:
        return "memory" if fits else "mapped"
    # Crops of full-size images are not those of scaled ones, so a run that goes on must not change
    # from the one to the other because less memory is free now.
    files = Cache.at(["files of", images.place], images.stamp)
    if files.remember(f"encoded-{side}", lambda: not fits):
        return "encoded"
    return "memory" if fits else "mapped"


def in_memory(
    images: Originals, shape: tuple[int, int, int], reading: Reading, progress: Progress
) -> Tensor | Kept:
    """Return decoded images in memory, from the cache where they are worth a file of it."""
    taken = len(images) * prod(shape)
    if WORTH_KEEPING <= taken <= DISK_SHARE * free_disk(cache_folder("data")):
        with suppress(Unwritable):
            return Kept(*decoded(images, shape, reading, progress, "c"))
    return decode(images.files(), len(images), reading)


def mapped(
    images: Originals, shape: tuple[int, int, int], reading: Reading, progress: Progress
) -> Mapped:
    """Return decoded images in a file of the cache, read from there when they are taken."""
    return Mapped(*decoded(images, shape, reading, progress, "r"))


def decoded(
    images: Originals,
    shape: tuple[int, int, int],
    reading: Reading,
    progress: Progress,
    mode: Literal["r", "c"],
) -> tuple[Cache, Tensor]:
    """Return decoded images in a file of the cache, which is written first if need be."""
    cache = _cache(["pixels of", images.place, reading.side, *reading.unusual], images)
    chunks = partial(_pixels, images, reading)
    about = cache.ready(len(images), {"shape": shape}, chunks, progress, images.title)
    return cache, cache.map("pixels.bin", np.uint8, mode).view(-1, *about["shape"])


def encoded(
    images: Originals, shape: tuple[int, int, int], reading: Reading, progress: Progress
) -> Encoded:
    """Return images that are decoded when they are taken."""
    cache = _cache(["files of", images.place, *reading.unusual], images)
    return Encoded(Store(cache, images.reader(progress), len(images), reading, shape[1:]))


def _cache(place: list[Any], images: Originals) -> Cache:
    """Return the cache of what is known of pixels, which this version of reading gives."""
    return Cache.at(place, f"{images.stamp}-{VERSION}")


def _pixels(
    images: Originals, reading: Reading, first: int, about: dict[str, Any]
) -> Iterator[Chunk]:
    """Yield the decoded images; the first coloured ones after grey ones make all three-channel."""
    channels, height, width = about["shape"]
    rows = max(1, CHUNK_BYTES // (channels * height * width))
    for chunk in images.decoded(first, rows, reading, (height, width)):
        if chunk.shape[1] > channels:
            raise StartOver({"shape": list(chunk.shape[1:])})
        whole = chunk.expand(-1, channels, -1, -1).contiguous()
        yield len(whole), {"pixels.bin": whole.numpy().data}

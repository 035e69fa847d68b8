"""From a data set's name to its split: a built-in name, a local folder or a Hugging Face name."""

import re
from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch

from ddkit.data.access import check_unsealed, kept
from ddkit.data.options import DataOptions
from ddkit.data.pixels.detailed import Detailed
from ddkit.data.pixels.originals import Listing
from ddkit.data.pixels.picture import Reading
from ddkit.data.pixels.tiers import detailed, pixels_at
from ddkit.data.sources import folders, hub
from ddkit.data.sources.equal import note_equal
from ddkit.data.sources.names import DATA
from ddkit.data.sources.registered import is_registered, registered
from ddkit.data.sources.selection import choose_classes, imbalanced, resized, split_holdout
from ddkit.data.sources.tables import SplitName
from ddkit.data.split import Split
from ddkit.data.zca import check_values
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress, Silent

__all__ = ["DATA", "Source", "SplitName", "load", "split_holdout"]

Source = Callable[[DataOptions, SplitName], Split]
"""A data source returns the whole split; `load` chooses classes and size."""


def load(
    options: DataOptions, split: SplitName, *, seed: int = 0, progress: Progress | None = None
) -> Split:
    """Return the split that `options` describe, but for the holdout (see `split_holdout`).

    A built-in name wins over a folder of that name in the current directory; ./name is always
    the folder. `seed` matters for the imbalanced draw alone, which concerns the training split.
    Raises `DdkitError` for an unknown name, for what is wrong with the data, and for the test split
    while a set is distilled.
    """
    check_unsealed(split)
    return kept(options, split, seed, lambda: _read(options, split, seed, progress or Silent()))


def _read(options: DataOptions, split: SplitName, seed: int, progress: Progress) -> Split:
    found = _find(options, split, progress)
    if options.flip is not None:
        found = replace(found, mirror=options.flip)
    if split == "train":
        note_equal(found, progress)
        empty = [name for name, count in zip(found.classes, found.counts, strict=True) if not count]
        if empty:
            raise DdkitError(
                f"class '{empty[0]}' of {options.name} has no training image: "
                "leave it out with --classes"
            )
        if options.imbalance is not None:
            found = imbalanced(found, *options.imbalance, seed)
    return found


def _find(options: DataOptions, split: SplitName, progress: Progress) -> Split:
    name, side = options.name, options.resize
    detail = options.detail if split == "train" else None  # nothing is cropped for a test
    own = is_registered(name)
    if not own and name not in DATA.entries():
        if folders.is_path(name):
            return _files(folders.read, options, split, progress)
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            return _files(hub.read, options, split, progress)
    source: Source = registered if own else DATA.load(name)
    found = choose_classes(source(options, split), options.classes)
    if options.space == "zca":
        check_values(found.shape[0] * (side**2 if side else prod(found.shape[1:])))
    scaled = resized(found, side)
    if detail is None:
        return scaled
    details = resized(found, detail).take(torch.arange(len(found)))
    return replace(scaled, images=Detailed(scaled.pixels, details))


def _files(
    read: Callable[[DataOptions, SplitName], Listing],
    options: DataOptions,
    split: SplitName,
    progress: Progress,
) -> Split:
    """Return a split of image files; how many of their bits count, the training images say."""
    listing = read(options, split)
    depth = options.bit_depth
    if depth is None and listing.images.is_deep():
        trained = listing if split == "train" else read(options, "train")
        depth = trained.images.depth(progress)
        if depth not in (None, 16) and split == "train":
            progress.note(
                f"{listing.images.title}: pixels of more than 8 bits fill {depth}, of which the "
                "upper 8 are used (--bit-depth says otherwise)"
            )
    reading = Reading(options.resize, options.colour, depth)
    if options.space == "zca":
        check_values(prod(listing.images.shape(reading)))
    return opened(listing, reading, progress, options.detail if split == "train" else None)


def opened(
    listing: Listing, reading: Reading, progress: Progress, detail: int | None = None
) -> Split:
    """Return a split with its pixels in the tier that suits them.

    With `detail`, the split can also crop the same images of that larger side (see `Detailed`).
    Raises `DdkitError` for images that can't be read or differ in size, a full disk, and a tier
    that there is not.
    """
    if detail is None:
        images = pixels_at(listing.images, reading, progress)
    else:
        images = detailed(listing.images, reading, detail, progress)
    return Split(images, listing.labels, listing.classes)

"""From a data set's name to its split: a built-in name, a local folder or a Hugging Face name."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import prod
from statistics import median
from unicodedata import category

import torch

from ddkit.data.access import check_unsealed, kept
from ddkit.data.options import DataOptions
from ddkit.data.pixels.detailed import Detailed
from ddkit.data.pixels.originals import Listing
from ddkit.data.pixels.picture import Reading
from ddkit.data.pixels.tiers import detailed, pixels_at
from ddkit.data.sources import folders, hub, npz
from ddkit.data.sources.equal import note_equal
from ddkit.data.sources.names import DATA
from ddkit.data.sources.registered import has_test, is_registered, registered
from ddkit.data.sources.selection import (
    choose_classes,
    imbalanced,
    resized,
    split_holdout,
    split_test,
)
from ddkit.data.sources.tables import SplitName
from ddkit.data.split import Split
from ddkit.data.zca import check_values
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress, Silent

__all__ = ["DATA", "Source", "SplitName", "load", "split_holdout"]

Source = Callable[[DataOptions, SplitName], Split]
"""A data source returns the whole split; `load` chooses classes and size."""

Reader = Callable[[DataOptions, SplitName], Listing]
"""Another kind of source: it lists image files, which `load` decodes or leaves where they are."""

SIDES = (32, 64)  # pixels; larger images take hours where nothing was said

_said: set[str] = set()


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
    odd = [name for name in found.classes if any(category(c) == "Cc" for c in name)]
    if odd:
        others = f" and {len(odd) - 1} more hold" if len(odd) > 1 else " holds"
        say_once(f"{options.name}: class {odd[0]!r}{others} control characters", progress)
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
    detail = options.detail if split == "train" else None  # nothing is cropped for a test
    if options.test_share is None:
        return _whole(options, split, detail, progress)
    train, test = split_test(_whole(options, "train", detail, progress), options.test_share)
    return train if split == "train" else test


def _whole(options: DataOptions, split: SplitName, detail: int | None, progress: Progress) -> Split:
    """Return a split of the source; with `test_share`, "train" is all that there is."""
    name, side = options.name, options.resize
    read = _reader(name)
    if read is not None:
        return _files(read, options, split, detail, progress)
    own = is_registered(name)
    source: Source = registered if own else DATA.load(name)
    if options.test_share is not None and not (own and not has_test(name)):
        raise DdkitError(f"'{name}' has a test split of its own: leave out --test-share")
    found = choose_classes(source(options, split), options.classes)
    if options.space.startswith("zca"):
        check_values(found.shape[0] * (side**2 if side else prod(found.shape[1:])))
    scaled = resized(found, side)
    if detail is None:
        return scaled
    details = resized(found, detail).take(torch.arange(len(found)))
    return replace(scaled, images=Detailed(scaled.pixels, details))


def _reader(name: str) -> Reader | None:
    """Return what lists the image files of a set; None where a source gives its pixels at once."""
    if is_registered(name) or name in DATA.entries():
        return None
    if npz.is_npz(name):
        return npz.read
    if folders.is_path(name):
        return folders.read
    return hub.read if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def look(options: DataOptions) -> tuple[int, int, tuple[int, int, int]]:
    """Return images, classes and (channels, height, width) of a training split.

    Of images in files some are opened, and their pixels are not kept. Raises `DdkitError` as `load`
    does, and where those that are opened differ in size.
    """
    read = _reader(options.name)
    if read is None:
        split = load(options, "train")
        return len(split), len(split.classes), split.shape
    listing = read(options, "train")
    images = round(len(listing.labels) * (1 - (options.test_share or 0.0)))
    return images, len(listing.classes), listing.images.sampled_shape(Reading(options.resize))


@lru_cache  # a bench asks for each of its cells
def peek(options: DataOptions) -> tuple[int, int, int] | None:
    """Return (number of classes, height, width) of the training images of a folder, unscaled.

    None where it can't be read, and for names: who gave them vouches for what they mean.
    """
    if options.name in DATA.entries() or not folders.is_path(options.name):
        return None
    try:
        listing = folders.read(options, "train")
        return (len(listing.classes), *listing.images.shape(Reading())[1:])
    except DdkitError:
        return None


def common_side(options: DataOptions) -> int | None:
    """Return the side in pixels for image files that differ in size, where none was said.

    Of `SIDES` the largest that half of the images, of which some are looked at, have; None where
    these are of one size, and where they can't be read, which `load` then says.
    """
    read = _reader(options.name)
    if options.resize is not None or read is None:
        return None
    try:
        sizes = read(options, "train").images.sizes()
    except DdkitError:
        return None
    half = median(min(size) for size in sizes)
    several = len(set(sizes)) > 1
    return max((side for side in SIDES if side <= half), default=SIDES[0]) if several else None


def with_one_size(options: DataOptions, note: Callable[[str], None]) -> DataOptions:
    """Return options by which images of several sizes are scaled to one, which is said."""
    side = common_side(options)
    if side is None:
        return options
    note(
        f"the images of {options.name} differ in size: scaled to {side}x{side} "
        "(--resize chooses another size)"
    )
    return options.model_copy(update={"resize": side})


def _files(
    read: Reader,
    options: DataOptions,
    split: SplitName,
    detail: int | None,
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
                f"{listing.images.title}: pixels of more than 8 bits use {depth}, of which the "
                "upper 8 are kept (--bit-depth chooses another depth)"
            )
    reading = Reading(options.resize, options.colour, depth)
    if options.space.startswith("zca"):
        check_values(prod(listing.images.shape(reading)))
    return opened(listing, reading, progress, detail)


def opened(
    listing: Listing, reading: Reading, progress: Progress, detail: int | None = None
) -> Split:
    """Return a split with its pixels in the tier that suits them.

    With `detail`, the split can also crop the same images of that larger side (see `Detailed`).
    Raises `DdkitError` for images that can't be read or differ in size, a full disk, and a tier
    that there is not.
    """
    for note in listing.notes:
        say_once(note, progress)
    if detail is None:
        images = pixels_at(listing.images, reading, progress)
    else:
        images = detailed(listing.images, reading, detail, progress)
    return Split(images, listing.labels, listing.classes)


def say_once(note: str, progress: Progress) -> None:
    """Say a note of the data in this process for the first time: a split is opened many a time."""
    if note not in _said and type(progress) is not Silent:
        _said.add(note)
        progress.note(note)

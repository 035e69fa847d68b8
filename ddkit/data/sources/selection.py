"""Parts of a split: some of its classes, an imbalanced draw, a holdout, another image size."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddkit.data.options import class_count
from ddkit.data.pixels.decoding import fit
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.seeds import generator


def class_indices(names: Sequence[str], wanted: tuple[str, ...] | None) -> list[int]:
    """Return the indices of the `wanted` classes among `names`, in the order asked for.

    One number alone means the first so many classes; otherwise each item is a name or, where no
    class bears that name, an index. None means all. Raises `DdkitError` for what is not there.
    """
    if wanted is None:
        return list(range(len(names)))
    if len(wanted) == 1 and wanted[0].isdecimal():
        count = class_count(wanted)
        if not 0 < count <= len(names):
            raise DdkitError(f"--classes {count}: the data set has {len(names)} classes")
        return list(range(count))
    indices = [_index(names, item) for item in wanted]
    if len(set(indices)) != len(indices):
        raise DdkitError(f"--classes {','.join(wanted)} names a class twice")
    return indices


def _index(names: Sequence[str], item: str) -> int:
    if item in names:
        return list(names).index(item)
    if item.isdecimal() and int(item) < len(names):
        return int(item)
    raise unknown("class", item, names, f"or an index from 0 to {len(names) - 1}")


def choose_classes(split: Split, wanted: tuple[str, ...] | None) -> Split:
    """Return the split with the `wanted` classes only, labelled 0, 1, … in the order asked for."""
    if wanted is None:
        return split
    indices = class_indices(split.classes, wanted)
    labels = torch.full((len(split.classes),), -1)
    labels[indices] = torch.arange(len(indices))
    chosen = replace(
        split, labels=labels[split.labels], classes=tuple(split.classes[i] for i in indices)
    )
    return chosen.subset((chosen.labels >= 0).nonzero()[:, 0])


def imbalanced(split: Split, low: float, high: float, seed: int) -> Split:
    """Keep of each class a fraction drawn uniformly from [low, high], at least one image.

    This is the imbalanced setting of Teddy's appendix C.1. The order of the images stays.
    """
    kept = []
    for label, members in enumerate(_members(split)):
        draw = generator(seed, "imbalance", label)
        fraction = low + (high - low) * torch.rand((), generator=draw, dtype=torch.float64).item()
        count = max(1, round(fraction * len(members)))
        kept.append(members[torch.randperm(len(members), generator=draw)[:count]])
    return split.subset(torch.cat(kept).sort().values)


def split_holdout(split: Split, fraction: float, seed: int) -> tuple[Split, Split | None]:
    """Set aside `fraction` of each class: (the rest, the holdout or None where fraction is 0).

    Either side has at least one image of each class, and keeps the order. A smaller fraction
    under the same seed is a part of a larger one. Raises `DdkitError` for a class that is too
    small to be divided and for a fraction outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise DdkitError(f"the holdout must be at least 0 and less than 1, not {fraction}")
    if fraction == 0:
        return split, None
    for name, count in zip(split.classes, split.counts.tolist(), strict=True):
        if count < 2:
            raise DdkitError(
                f"no holdout can be set aside: class '{name}' has {count} training image(s); "
                "leave it out with --classes, or use --holdout 0"
            )
    return _divided(split, fraction, lambda label: generator(seed, "holdout", label))


def split_test(split: Split, share: float) -> tuple[Split, Split]:
    """Return (training split, test split) of all images: `share` of each class is for testing.

    Which images those are follows from the class's name and their order: no seed of a run moves
    one to the other side, nor do the other classes that are chosen. Raises `DdkitError` for a class
    of fewer than two images.
    """
    for name, count in zip(split.classes, split.counts.tolist(), strict=True):
        if count < 2:
            raise DdkitError(
                f"--test-share: class '{name}' has {count} image(s), which can't be both trained "
                "on and tested: leave it out with --classes"
            )
    return _divided(
        split, share, lambda label: generator(0, f"test share of {split.classes[label]}")
    )


def resized(split: Split, side: int | None) -> Split:
    """Return the split with square images of `side` pixels, by the same rule as image files."""
    if side is None or split.shape[1:] == (side, side):
        return split
    count, channels = split.images.shape[:2]
    images = np.empty((count * channels, side, side), dtype=np.uint8)
    planes = (plane for chunk in split.pixels.chunks() for plane in chunk.flatten(0, 1).numpy())
    for row, plane in enumerate(planes):
        images[row] = np.asarray(fit(Image.fromarray(plane), side))
    return replace(split, images=torch.from_numpy(images).view(count, channels, side, side))


def _divided(
    split: Split, share: float, draw: Callable[[int], torch.Generator]
) -> tuple[Split, Split]:
    """Return (the rest, `share` of each class); either has an image of each, and keeps the order.

    A smaller share by the same draws is a part of a larger one.
    """
    taken = torch.zeros(len(split), dtype=torch.bool)
    for label, members in enumerate(_members(split)):
        count = min(max(1, round(share * len(members))), len(members) - 1)
        taken[members[torch.randperm(len(members), generator=draw(label))[:count]]] = True
    return split.subset((~taken).nonzero()[:, 0]), split.subset(taken.nonzero()[:, 0])


def _members(split: Split) -> list[Tensor]:
    """The positions of each class's images, int64, in order."""
    return [(split.labels == label).nonzero()[:, 0] for label in range(len(split.classes))]

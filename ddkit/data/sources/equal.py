"""Classes whose images are all equal: nothing is wrong in form, and yet something is."""

from collections.abc import Iterator
from hashlib import blake2b

from torch import Tensor

from ddkit.data.split import Split
from ddkit.runtime.progress import Progress

PASS = 256  # images at once


def note_equal(split: Split, progress: Progress) -> None:
    """Say which classes hold nothing but copies of one image; what is found is remembered."""
    labels = blake2b(split.labels.contiguous().numpy().data, digest_size=8).hexdigest()
    found = split.pixels.remember(f"equal-{labels}", lambda: list(_equal(split)))
    names = [f"'{split.classes[label]}'" for label in found]
    if len(names) == 1:
        progress.note(f"data: all images of class {names[0]} are equal")
    elif names:
        listed = ", ".join(names[:3]) + ", …" * (len(names) > 3)
        progress.note(f"data: all images are equal within each of {len(names)} classes: {listed}")


def _equal(split: Split) -> Iterator[int]:
    """Yield the classes of two images and more that are all equal."""
    order = split.labels.argsort(stable=True)
    members = order.split(split.counts.tolist())
    several = [label for label, rows in enumerate(members) if len(rows) > 1]
    for first in range(0, len(several), PASS // 2):
        labels = several[first : first + PASS // 2]
        pairs = split.take(order.new_tensor([row for n in labels for row in members[n][:2]]))
        alike = (pairs[::2] == pairs[1::2]).flatten(1).all(1)
        for label, is_alike in zip(labels, alike.tolist(), strict=True):
            if is_alike and _all_equal(split, members[label]):  # seldom: most end with two images
                yield label


def _all_equal(split: Split, rows: Tensor) -> bool:
    image = split.take(rows[:1])
    return all(bool((split.take(part) == image).all()) for part in rows.split(PASS))

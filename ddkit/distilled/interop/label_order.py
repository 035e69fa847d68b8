"""Whether soft labels are those of the images beside them, class by class in one order."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ddkit.labels import EpochLabels, Labels, RegressionTargets, SoftLabels
from ddkit.labels.coded import decoded
from ddkit.runtime.errors import DdkitError

# The share of images whose labels must say their class. A weak teacher is right for fewer than
# half of many classes, so that there 20 classes' worth are enough; numbers that are sorted as text
# leave 12 of 100 classes in their places (0, 1, and 90 to 99).
LEAST, CLASSES = 0.5, 20
EPOCHS = 20  # whose labels are looked at


def check_labels(labels: Labels, classes: Tensor, names: Sequence[str], path: Path) -> None:
    """Raise `DdkitError` for soft labels that say other classes for most of their images.

    Args:
        classes: int64 (N,), of the images.
        names: of the classes, in label order.
    """
    said = classes_said(labels)
    share = 1.0 if said is None else agreement(said, classes)
    if said is None or share >= min(LEAST, CLASSES / len(names)):
        return
    cause = next(
        (cause for cause, other in orders(said, classes, names) if agreement(said, other) >= LEAST),
        "labels and images have their classes in different orders, perhaps numbers sorted as text, "
        "1, 10, 2, or belong to different images",
    )
    raise DdkitError(
        f"the labels of {path} agree with the class of only {share:.0%} of its images: {cause}; "
        "save it again with both in the same order, or accept it as it is with --trust labels"
    )


def classes_said(labels: Labels) -> Tensor | None:
    """Return the class that the labels of each image say: int64 (N,); None for hard labels."""
    if isinstance(labels, SoftLabels):
        return decoded(labels.logits).argmax(1)
    if isinstance(labels, RegressionTargets):
        return labels.values.argmax(1)
    if not isinstance(labels, EpochLabels):
        return None
    total = torch.zeros(labels.logits.shape[1:])
    for epoch in range(min(labels.epochs, EPOCHS)):  # a crop or a partner may hide the class
        total += labels.logits[epoch].float().softmax(1)
    return total.argmax(1)


def agreement(said: Tensor, classes: Tensor) -> float:
    return float((said == classes).float().mean())


def orders(said: Tensor, classes: Tensor, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield what may have gone wrong in words, and the classes that labels would say then."""
    numbers = range(len(names))
    sorts = {
        "the numbers of classes as text": sorted(numbers, key=str),
        "the names of classes as text": sorted(numbers, key=lambda index: names[index]),
        "the numbers in the names of classes": sorted(numbers, key=lambda i: natural(names[i])),
    }
    for what, order in sorts.items():
        first = ", ".join(names[index] for index in order[:3])
        places = torch.tensor(order)
        for other, who in ((places.argsort()[classes], "labels"), (places[classes], "images")):
            yield f"its {who} seem to be in the order of {what} ({first}, …)", other
    turns = torch.arange(len(classes)) % len(names)
    yield "its images seem to be one of each class in turn, not sorted by class", turns


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts "cat 2" before "cat 10"."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]

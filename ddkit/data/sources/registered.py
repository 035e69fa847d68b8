"""Data that a program brings in its memory: they have a name for as long as the process lives."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ddkit.data.options import DataOptions
from ddkit.data.sources.names import DATA
from ddkit.data.sources.tables import SHARED, SplitName
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError, NoTestSplit

Pair = tuple[Tensor, Tensor]

_sets: dict[str, dict[SplitName, Split]] = {}


def register_data(
    name: str,
    train: Pair,
    test: Pair | None = None,
    *,
    classes: Sequence[str] | None = None,
    mirror: bool = True,
) -> None:
    """Give images a name, which `data=` then takes in this process; a second time replaces them.

    Runs know them by their content: one that goes on with other images is refused, and a pool is
    found again in the cache whatever their name is.

    Args:
        train, test: images uint8 (N, channels, height, width), 0 … 255, and labels int64 (N,),
            0 … classes - 1; they are copied. Only evaluation needs `test`.
        classes: the names of the classes; None: their numbers.
        mirror: whether a mirrored image keeps its class.

    Raises:
        DdkitError: the name stands for other data, or tensors are of another form.
    """
    if not re.fullmatch(r"[\w-][\w.-]*", name) or name in DATA.entries() or Path(name).exists():
        raise DdkitError(f"'{name}' names other data, or is not a plain name: choose another one")
    if classes is None:
        classes = [str(label) for label in range(_largest(train[1]) + 1)]
    pairs: dict[SplitName, Pair] = {"train": train, **({} if test is None else {"test": test})}
    _sets[name] = {
        split: _split(pair, tuple(classes), mirror, f"the {split} split of '{name}'")
        for split, pair in pairs.items()
    }


def registered(options: DataOptions, split: SplitName) -> Split:
    """Return a split of a registered set; a data source as `ddkit.data.sources.load` knows them."""
    splits = _sets[options.name]
    if split not in splits:
        raise NoTestSplit(
            f"'{options.name}' was registered without a test split: "
            f"ddkit.register_data(name, train, test), or {SHARED}"
        )
    return splits[split]


def is_registered(name: str) -> bool:
    return name in _sets


def has_test(name: str) -> bool:
    """Return whether a registered set brought a test split."""
    return "test" in _sets[name]


def check_shared(name: str, executor: str) -> None:
    """Raise `DdkitError` where other processes would have to read what only this one holds."""
    if executor != "local" and is_registered(name):
        raise DdkitError(
            f"'{name}' lies in the memory of this process, where --executor {executor} cannot "
            "read it: save it as a folder (train/<class>/*.png), and name that"
        )


def _split(pair: Pair, classes: tuple[str, ...], mirror: bool, where: str) -> Split:
    """Return a copy as a split: one that changed later would belie its fingerprint."""
    images, labels = (tensor.detach().cpu() for tensor in pair)
    if images.dtype != torch.uint8 or images.ndim != 4 or not len(images):
        raise DdkitError(
            f"{where}: images must be uint8 (N, channels, height, width), 0 … 255 "
            f"(got {images.dtype} {tuple(images.shape)})"
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DdkitError(
            f"{where}: labels must be int64 ({len(images)},), one for each image "
            f"(got {labels.dtype} {tuple(labels.shape)})"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DdkitError(f"{where}: labels must be 0 … {len(classes) - 1}, as there are classes")
    return Split(images.clone(), labels.clone(), classes, mirror)


def _largest(labels: Tensor) -> int:
    return int(labels.max()) if labels.numel() else 0

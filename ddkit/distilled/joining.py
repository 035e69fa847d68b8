"""Sets of disjoint classes of the same data, chosen by --classes, become one of all of them."""

import shlex
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.data.sources import selection
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.distilled.dataset import DistilledDataset
from ddkit.labels import HardLabels
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.settings import validated


def are_apart(parts: Sequence[DistilledDataset]) -> bool:
    """Return whether sets have no class in common, of data that differ in nothing else."""
    names = [set(part.class_names) for part in parts]
    apart = not any(one & other for one, other in combinations(names, 2))
    return apart and all(unchosen(part) == unchosen(parts[0]) for part in parts)


def unchosen(part: DistilledDataset) -> dict[str, Any]:
    """Return what a set says of its data, without the classes."""
    return {**part.config["data"], "classes": None}


def align(parts: Sequence[DistilledDataset]) -> None:
    """Let sets of disjoint classes speak of all classes, in the order of the data.

    Their labels, their input space and what they say of the data become those of one set.

    Raises:
        DdkitError: labels are not hard, and say nothing of the other sets' classes; numbers per
            class differ; or the data are not what the sets were distilled from.
    """
    for part in parts:
        check_joinable(part, parts[0])
    config = parts[0].config
    options = validated(DataOptions, unchosen(parts[0]), "the data set")
    found = {name for part in parts for name in part.class_names}
    train = training_images(options, config["pool_seed"])
    names = tuple(name for name in train.classes if name in found)
    if names != train.classes:
        options = options.model_copy(update={"classes": names})
        train = training_images(options, config["pool_seed"])
    for part in parts:
        own = selection.choose_classes(train, tuple(part.class_names))
        if own.fingerprint != part.metadata["data_fingerprint"]:
            raise DdkitError(
                f"{part.file.path} was distilled from other images of its classes than all of them "
                f"have in '{options.name}': the data changed, or a --holdout or --imbalance drew "
                "others; distil it again"
            )
    spaces = {part.space.fingerprint() for part in parts}
    space = parts[0].space if len(spaces) == 1 else InputSpace.fit(train, options.space)
    for part in parts:
        places = torch.tensor([train.classes.index(name) for name in part.class_names])
        part.classes = places[part.classes]
        part.labels = HardLabels(part.classes)
        part.space = space
        data = options.model_dump(mode="json")
        part.metadata = part.metadata | {
            "classes": list(train.classes),
            "data_fingerprint": train.fingerprint,
            "config": part.config | {"data": data},
        }


def check_joinable(part: DistilledDataset, first: DistilledDataset) -> None:
    """Raise `DdkitError` for a set that cannot stand beside sets of other classes."""
    path = part.file.path
    if part.labels.kind != "hard":
        out = path.with_stem(f"{path.stem}-hard")
        command = shlex.join(
            ["ddkit", "relabel", str(path), "--relabel-from", "random", "-o", str(out)]
        )
        raise DdkitError(
            f"the {part.labels.kind} labels of {path} do not cover the other sets' classes: "
            f"`{command}` makes hard labels, and the merged set can be relabelled"
        )
    if part.label_logits is not None:
        raise DdkitError(
            f"the labels that {path} learned do not cover the other sets' classes: "
            "distil it with hard labels"
        )
    if part.config["ipc"] != first.config["ipc"]:
        raise DdkitError(
            f"{first.file.path} and {path} have {first.config['ipc']} and {part.config['ipc']} "
            "images per class: cut one with `ddkit subset --ipc`"
        )


def training_images(data: DataOptions, seed: int) -> Split:
    """Return the training images as a run on these data has them."""
    train = sources.load(data, "train", seed=seed)
    return selection.split_holdout(train, data.holdout, seed)[0]

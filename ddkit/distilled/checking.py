"""Whether a file is a whole distilled set: every tensor of the shape and type that is read of it.

An artifact may come from anywhere. Readers of it rely on what is checked here.
"""

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ddkit.labels.checking import Check, check_drawn, check_logits, check_recipe
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile

NEEDED = {
    "format_version": int,
    "classes": list,
    "labels": dict,
    "mirror": bool,
    "network": str,
    "versions": dict,
}
OPTIONAL = {
    "config": dict,
    "cut_from": dict,
    "data_fingerprint": str,
    "factor": int,
    "image_files": list,
    "imported": dict,
    "merged": list,
    "protocol": dict,
}
CONFIG = {"method": str, "ipc": int, "seed": int, "data": dict, "device": str}
MOST_PARTS = 64  # of an image along a side
PIXELS = (torch.uint8, torch.float16, torch.float32)
FLOATS = (torch.float16, torch.float32, torch.float64)
INTEGERS = (torch.int16, torch.int32, torch.int64)


def checker(file: TensorFile) -> Check:
    """Return the function that refuses a file where something is wrong with it."""

    def refuse(problem: str, wrong: bool) -> None:
        if wrong:
            raise DdkitError(
                f"{file.path} is not a complete distilled set: {problem}; copy it or make it again"
            )

    return refuse


def check_set(file: TensorFile) -> None:
    """Raise `DdkitError` unless metadata and tensors but the images are of one distilled set."""
    refuse = checker(file)
    check_metadata(file.metadata, refuse)
    names = len(file.metadata["classes"])
    classes = file["classes"]
    count = len(classes) if classes.ndim == 1 else 0
    refuse("its classes must be a list of whole numbers", classes.dtype != torch.int64 or not count)
    factor = file.metadata.get("factor", 1)
    refuse("the factor of its images must be 1 to 64", not 1 <= factor <= MOST_PARTS)
    count *= factor**2
    outside = not 0 <= int(classes.min()) <= int(classes.max()) < names
    refuse(f"it has labels beyond its {names} classes", outside)
    check_space(file, refuse)
    check_labels(file, count, names, refuse)
    rate, logits = file.get("learning_rate"), file.get("label_logits")
    refuse("its learning rate must be one number", rate is not None and not _is(rate, FLOATS, ()))
    learned = (count, names)
    refuse(
        f"its learned labels must be {count} rows of {names} numbers",
        logits is not None and not _is(logits, FLOATS, learned),
    )


def check_metadata(about: dict[str, Any], refuse: Check) -> None:
    """Check what the file says of itself."""
    for name, kind in NEEDED.items():
        refuse(
            f"'{name}' is missing from its metadata, or of the wrong type",
            type(about.get(name)) is not kind,
        )
    for name, kind in OPTIONAL.items():
        said = about.get(name)
        refuse(
            f"'{name}' in its metadata is of the wrong type",
            said is not None and type(said) is not kind,
        )
    if (config := about.get("config")) is not None:  # None: imported, and nobody knows the data
        for name, kind in CONFIG.items():
            missing = type(config.get(name)) is not kind
            refuse(f"'{name}' is missing from its configuration, or of the wrong type", missing)
        refuse(
            "its configuration does not name its data",
            not isinstance(config["data"].get("name"), str),
        )
    named = bool(about["classes"]) and all(isinstance(name, str) for name in about["classes"])
    refuse("its classes have no names", not named)
    temperature, kind = about["labels"].get("temperature"), about["labels"].get("kind")
    number = isinstance(temperature, int | float) and isfinite(temperature) and temperature > 0
    refuse("its labels need a temperature above 0", not number or not isinstance(kind, str))


def check_space(file: TensorFile, refuse: Check) -> None:
    """Check mean and std, one value per channel, and the matrices of ZCA."""
    mean, std = file["space.mean"], file["space.std"]
    channels = mean.shape[:1]
    fits = all(_is(each, (torch.float32,), tuple(channels)) for each in (mean, std))
    refuse("its mean and std do not match", not channels or not fits)
    zca = [file.get(f"space.zca.{name}") for name in ("mean", "matrix", "inverse")]
    if zca[0] is not None:
        size = zca[0].numel()
        shapes = ((size,), (size, size), (size, size))
        fit = [
            each is not None and _is(each, (torch.float32,), shape)
            for each, shape in zip(zca, shapes, strict=True)
        ]
        refuse("its ZCA matrices do not match", not all(fit))


def check_labels(file: TensorFile, count: int, names: int, refuse: Check) -> None:
    """Check soft labels and the views they belong to; kinds unknown here are read elsewhere."""
    about = file.metadata["labels"]
    if about["kind"] == "recipe":
        check_recipe(about, count, refuse)
    if about["kind"] == "targets":
        fit = _is(file["labels.targets"], (torch.float32,), (count, names))
        refuse("its regression targets do not match its images", not fit)
    if about["kind"] in ("soft", "epoch"):
        epochs = check_logits(file, count, names, refuse)
        if "views" in about:
            check_drawn(about["views"], count, refuse)
        elif about["kind"] == "epoch":
            check_views(file, epochs * count, count, refuse)


def check_views(file: TensorFile, rows: int, count: int, refuse: Check) -> None:
    """Check the views of so many rows, and that their partners are of `count` images."""
    shapes: dict[str, tuple[tuple[torch.dtype, ...], tuple[int, ...]]] = {
        "crop": (FLOATS, (rows, 4)),
        "flip": ((torch.bool,), (rows,)),
        "partner": (INTEGERS, (rows,)),
        "box": (INTEGERS, (rows, 4)),
        "weight": (FLOATS, (rows,)),
        "mix": (INTEGERS, (1,)),
    }
    strips = file.get("labels.views.strips")
    if strips is not None:
        shapes["strips"] = INTEGERS, (rows, 2, *strips.shape[2:])
        ordered = strips.long().sort(2).values == torch.arange(strips.shape[-1])
        refuse("its views have strips that are in no order", not ordered.all())
    for name, (types, shape) in shapes.items():
        view = file[f"labels.views.{name}"]
        refuse(f"its views ({name}) do not match its images", not _is(view, types, shape))
    partner = file["labels.views.partner"]
    outside = int(partner.min()) < 0 or int(partner.max()) >= count
    refuse("its views mix in images that do not exist", outside)


def check_images(file: TensorFile, parts: list[Tensor]) -> None:
    """Raise `DdkitError` unless the parts are the images of a set, all but the last equally long.

    `DistilledDataset.pixels` finds an image by the length of the first part.
    """
    refuse = checker(file)
    first = parts[0] if parts else torch.empty(0)
    shape = tuple(first.shape[1:])
    good = first.ndim == 4 and shape[0] in (1, 3, len(file["space.mean"])) and 0 not in shape
    refuse(
        "its images must have the shape (number, channels, height, width)",
        not good or not len(first),
    )
    factor = file.metadata.get("factor", 1)
    refuse("the factor of its images is larger than they are", min(shape[1:]) < factor)
    refuse("images of several cannot be whitened", factor > 1 and "space.zca.mean" in file)
    alike = all(part.dtype in PIXELS and tuple(part.shape[1:]) == shape for part in parts)
    refuse("its images differ in shape", not alike)
    lengths = [len(part) for part in parts]
    split = len(set(lengths[:-1])) < 2 and lengths[-1] <= lengths[0]
    refuse("images are missing", not split or sum(lengths) != len(file["classes"]))
    channels = "space.zca.mean" in file or shape[0] == len(file["space.mean"])
    refuse("its mean and std are for another number of channels", not channels)


def part_names(file: TensorFile) -> list[str]:
    """Return the files beside an index that hold its images; a name is never a path."""
    names = file.metadata.get("image_files") or []
    plain = all(
        isinstance(name, str) and name.endswith(".safetensors") and not set(name) & set("/\\\0:")
        for name in names
    )
    checker(file)("its image files must lie in the same folder", not names or not plain)
    return list(names)


def _is(tensor: Tensor, types: tuple[torch.dtype, ...], shape: tuple[int, ...]) -> bool:
    return tensor.dtype in types and tuple(tensor.shape) == shape

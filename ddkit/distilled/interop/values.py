"""Values of a file nobody vouches for become tensors of the right shape, or one line."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddkit.distilled.interop.exchange import FLOOR, Given, missing
from ddkit.labels import HardLabels, Labels, RegressionTargets, SoftLabels
from ddkit.runtime.errors import DdkitError

SIDE = 4096  # pixels of an image at most


def wrong(path: Path, problem: str) -> DdkitError:
    """Return the error for a file that is not of the layout it was read as."""
    return DdkitError(f"{path} {problem}: it is damaged or of another format (--format)")


def images_of(value: Any, path: Path) -> Tensor:
    """Return images (N, 1 or 3, height, width), float32; raises `DdkitError` for others."""
    if not isinstance(value, Tensor) or value.ndim != 4 or not value.is_floating_point():
        raise wrong(path, f"has {kind_of(value)} where images (N, channels, height, width) belong")
    count, channels, height, width = value.shape
    if not count or channels not in (1, 3) or not 0 < height <= SIDE or not 0 < width <= SIDE:
        raise wrong(path, f"has images of shape {list(value.shape)}")
    images = value.float()
    if not images.isfinite().all():
        raise wrong(path, "has pixels that are not finite")
    return images


def hard_of(value: Any, count: int, names: tuple[str, ...], path: Path) -> Tensor:
    """Return int64 classes (count,), each one of `names`."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.dtype == torch.bool:
        raise wrong(path, f"has {kind_of(value)} where classes belong")
    if value.shape not in ((count,), (count, 1)):
        raise wrong(path, f"has labels of shape {list(value.shape)} for {count} images")
    classes = value.flatten().long()
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= len(names):
        raise DdkitError(
            f"{path} has labels from {low} to {high}, but {len(names)} classes were named: name "
            "all of them, in the order of the labels (--classes or --data)"
        )
    return classes


def labels_of(
    value: Any, count: int, given: Given, path: Path, kind: str | None = None
) -> tuple[Tensor, Labels]:
    """Return (classes int64 (count,), labels) of classes, or of one vector per image.

    Args:
        kind: of the vectors, where the layout says it; else the user must.
    """
    names = given.class_names(path)
    if isinstance(value, Tensor) and not value.is_floating_point():
        if given.labels not in (None, "hard"):
            raise wrong(path, f"has classes, and no {given.labels} as --labels says")
        classes = hard_of(value, count, names, path)
        return classes, HardLabels(classes)
    vectors = vectors_of(value, (count, len(names)), path)
    kind = given.labels or kind
    if kind == "hard":
        classes = vectors.argmax(1)
        return classes, HardLabels(classes)
    if kind is None:
        raise missing(
            path, "what its labels are", "--labels logits, probabilities, targets or hard"
        )
    if kind == "targets":
        return in_turn(count, names, path), RegressionTargets(vectors.float())
    labels = SoftLabels(soft_of(vectors, kind, path), given.temperature or 1.0)
    return in_turn(count, names, path), labels


def soft_of(vectors: Tensor, kind: str | None, path: Path) -> Tensor:
    """Return vectors (N, classes) as logits, which None stands for as well."""
    if kind == "targets":
        raise DdkitError(f"{path} has soft labels: give --labels logits or probabilities")
    if kind == "probabilities":
        return log_of(vectors, path)
    if len(vectors[0]) > 1 and vectors.min() >= 0 and ((vectors.sum(1) - 1).abs() < 1e-3).all():
        raise DdkitError(
            f"{path} has labels that sum to 1 as probabilities do, not logits: give --labels "
            "probabilities"
        )
    return vectors


def vectors_of(value: Any, shape: tuple[int, ...], path: Path) -> Tensor:
    """Return finite labels of this shape, float32 or float16."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise wrong(path, f"has {kind_of(value)} where labels {list(shape)} belong")
    if tuple(value.shape) != shape:
        raise DdkitError(
            f"{path} has labels of shape {list(value.shape)}, but the images and the named "
            f"classes need {list(shape)}: name all classes (--classes or --data)"
        )
    vectors = value if value.dtype == torch.float16 else value.float()
    if not vectors.isfinite().all():
        raise wrong(path, "has labels that are not finite")
    return vectors


def log_of(probabilities: Tensor, path: Path) -> Tensor:
    """Return probabilities as logits, float32; raises `DdkitError` where they are none."""
    values = probabilities.float()
    if values.min() < -1e-4 or (values.sum(1) - 1).abs().max() > 1e-2:
        raise DdkitError(
            f"{path} has labels that are not probabilities, which sum to 1: give --labels logits"
        )
    return values.clamp_min(FLOOR).log()


def in_turn(count: int, names: tuple[str, ...], path: Path) -> Tensor:
    """Return the classes of images that lie class by class, equally many of each: int64 (count,).

    Tools that learn soft labels write them so, and write no classes.
    """
    if count % len(names):
        raise DdkitError(
            f"{path} has {count} images, which do not divide evenly into {len(names)} classes: "
            "name all classes (--classes or --data)"
        )
    return torch.arange(len(names)).repeat_interleave(count // len(names))


def number_of(value: Any, path: Path) -> float:
    """Return a learning rate: a number above 0, or a tensor that holds one."""
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < 1e9:
        raise wrong(path, f"has {kind_of(value)} where a learning rate belongs")
    return float(number)


def item(value: Any, key: Any, path: Path) -> Any:
    """Return one entry of a dict or a list; raises `DdkitError` where there is none."""
    try:
        return value[key]
    except (KeyError, IndexError, TypeError) as error:
        raise wrong(path, f"has no entry {key!r}") from error


def pair(value: Any, path: Path) -> tuple[Any, Any]:
    """Return [images, labels]."""
    if not isinstance(value, list) or len(value) != 2:
        raise wrong(path, f"has {kind_of(value)} where [images, labels] belong")
    return value[0], value[1]


def kind_of(value: Any) -> str:
    """Return what a message calls a value."""
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return f"'{value}'"[:60]

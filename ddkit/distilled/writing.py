"""An artifact is written: images, labels, input space, and all that must be known of them."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ddkit.data.space import InputSpace
from ddkit.labels import Labels
from ddkit.runtime.tensors import write_tensors
from ddkit.synthesis.images import Synthetic

IMPORTED = "imported"  # the method of a set that another tool distilled
FORMAT = "ddkit.distilled"
FORMAT_VERSION = 3  # 1: labels as tensors of float logits, their views stored; 2: factor is 1
HEADER = (
    "format",
    "format_version",
    "value_range",
    "labels",
    "versions",
    "image_files",
    "factor",
)
PART_BYTES = 2**30  # images beyond this go into several files


def write_distilled(
    path: Path,
    images: Synthetic,
    labels: Labels,
    space: InputSpace,
    metadata: Mapping[str, Any],
    part_bytes: int = PART_BYTES,
) -> None:
    """Write an artifact, whole or not at all; image files of a large set come before their index.

    Args:
        images: already in the form in which they are stored.
        labels: of the training images that these hold.
        metadata: what only the run knows: classes, config, data fingerprint, network.
        part_bytes: images beyond this size go into several files beside `path`.
    """
    tensors = {"classes": images.classes, **space.to("cpu").tensors(), **labels.tensors()}
    if images.learning_rate is not None:
        tensors["learning_rate"] = torch.tensor(images.learning_rate, dtype=torch.float64)
    if images.label_logits is not None:
        tensors["label_logits"] = images.label_logits
    about = labels.about()
    header = {
        "format": FORMAT,
        # an older ddkit reads what it can
        "format_version": FORMAT_VERSION if images.factor > 1 else 2 if about else 1,
        "value_range": [images.images.min().item(), images.images.max().item()],
        "labels": {"kind": labels.kind, "temperature": labels.temperature, **about},
        "versions": versions(),
        **metadata,
        **({"factor": images.factor} if images.factor > 1 else {}),
    }
    rows = max(1, part_bytes // images.images[:1].nbytes)
    if len(images) <= rows:
        write_tensors(path, tensors | {"images": images.images}, header)
        return
    parts = images.images.split(rows)
    names = [
        f"{path.stem}-{n:05d}-of-{len(parts):05d}.safetensors" for n in range(1, len(parts) + 1)
    ]
    for name, part in zip(names, parts, strict=True):
        write_tensors(path.with_name(name), {"images": part}, {"format": "ddkit.images"})
    write_tensors(path, tensors, header | {"image_files": names})


def versions() -> dict[str, str]:
    """Return what results may depend on beside the configuration."""

    return {
        "ddkit": version("ddkit"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }

"""IDC and NCFM: a `.pt` file [pixels in 0 to 1, classes]; an image holds factor × factor ones."""

from math import ceil
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing, missing
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import hard_of, images_of, pair
from ddkit.labels import HardLabels

FOLDER = False


def recognises(path: Path) -> bool:
    return False  # data_best.pt and the like say nothing


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    if given.factor is None:
        raise missing(path, "the factor of its multi-formation", "--factor, 1 if there is none")
    pixels, labels = pair(files.torch(path), path)
    names = given.class_names(path)
    packed = given.checked(images_of(pixels, path), path)
    classes = hard_of(labels, len(packed), names, path).repeat_interleave(given.factor**2)
    images = unpacked(packed, given.factor)
    return Imported(images, classes, HardLabels(classes), names, given.learning_rate)


def unpacked(images: Tensor, factor: int) -> Tensor:
    """Return the factor² parts of each image, enlarged to its size, one image after the other.

    IDC (Kim et al. 2022), section 3.1, uniform multi-formation: images whose side the factor does
    not divide are padded with grey, parts are enlarged bilinearly.

    Args:
        images: float32 (N, channels, side, side).

    Returns:
        float32 (N · factor², channels, side, side), the parts of an image row by row.
    """
    if factor == 1:
        return images
    channels, height, width = images.shape[1:]
    padding = (0, -width % factor, 0, -height % factor)
    side = (ceil(height / factor), ceil(width / factor))
    padded = F.pad(images, padding, value=0.5)
    parts = padded.unfold(2, side[0], side[0]).unfold(3, side[1], side[1])
    parts = parts.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels, *side)
    return F.interpolate(parts, (height, width), mode="bilinear")


def write(outgoing: Outgoing, path: Path) -> None:
    """Write images as they are, to be read with factor 1: parts cannot be put together again."""
    outgoing.notes.append("to be read with factor 1")
    torch.save([outgoing.pixels, outgoing.hard()], path)


def loading(path: Path) -> str:
    return f"import torch; images, classes = torch.load({str(path)!r})"

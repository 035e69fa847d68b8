"""Contact sheets of the page: each image a PNG in a data URI, enlarged by the browser."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ddkit.distilled.dataset import ARTIFACT, StoredImages, load
from ddkit.runtime.errors import cause
from ddkit.synthesis.images import as_pixels
from ddkit.synthesis.shard_file import initial_images

MOST_PER_CLASS, MOST_CLASSES = 10, 20
MOST_PIXELS = 96  # of a side: larger images are scaled down
SHOWN = 56  # pixels that an image is enlarged to at least
PREVIEW_IMAGES, PREVIEW_PIXELS = 10, 32
PAGE_BYTES = 48_000_000  # of all pixels together, so that the page stays one that can be mailed


@dataclass(frozen=True)
class Pair:
    """One synthetic image, and where it started: None where that is not known, or the same."""

    initial: str | None
    final: str


@dataclass(frozen=True)
class Sheet:
    """The images of one set, class by class; `error` says why there are none."""

    title: str
    about: str
    found_by: dict[str, list[str]]
    size: tuple[int, int] = (0, 0)  # in which an image is shown
    classes: Sequence[tuple[str, Sequence[Pair]]] = ()
    preview: Sequence[str] = ()
    note: str = ""
    error: str = ""


def sheet(
    folder: Path, title: str, about: str, found_by: Mapping[str, list[str]], room: int
) -> Sheet:
    """Return the sheet of the run in `folder`.

    Args:
        room: bytes of pixels that it may take; fewer images of each class then.
    """
    found = dict(found_by)
    try:
        return _sheet(load(folder / ARTIFACT).stored, folder, Sheet(title, about, found), room)
    except Exception as error:  # a file that is damaged in whatever way costs its own sheet only
        return Sheet(title, about, found, error=cause(error))


def _sheet(distilled: StoredImages, folder: Path, empty: Sheet, room: int) -> Sheet:
    names = distilled.class_names[:MOST_CLASSES]
    channels, height, width = distilled.shape
    shrink = min(1.0, MOST_PIXELS / max(height, width))
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    images = room // (2 * channels * size[0] * size[1] * len(names))
    most = max(1, min(MOST_PER_CLASS, images))
    started = _initial(folder, len(distilled))
    rows = [(distilled.classes == index).nonzero().flatten() for index in range(len(names))]
    final = [_scaled(distilled.pixels(each[:most]), size) for each in rows]
    initial = [
        None if started is None else _scaled(as_pixels(started[each[:most]]), size) for each in rows
    ]
    unchanged = started is not None and all(
        torch.equal(_bytes(first), _bytes(last))
        for first, last in zip(initial, final, strict=True)
        if first is not None
    )
    classes = [
        (
            name,
            [
                Pair(None if unchanged or before is None else _png(before[n]), _png(after[n]))
                for n in range(len(after))
            ],
        )
        for name, before, after in zip(names, initial, final, strict=True)
    ]
    firsts = [each[0] for each in final if len(each)][:PREVIEW_IMAGES]
    small = min(1.0, PREVIEW_PIXELS / max(size))
    preview_size = (max(1, round(size[0] * small)), max(1, round(size[1] * small)))
    enlarged = max(1, -(-SHOWN // size[1]))
    return Sheet(
        empty.title,
        empty.about,
        empty.found_by,
        (size[0] * enlarged, size[1] * enlarged),
        classes,
        [_png(_scaled(image[None], preview_size)[0]) for image in firsts],
        _note(distilled, max(map(len, rows)), most, started is not None, unchanged),
    )


def _note(distilled: StoredImages, per_class: int, most: int, known: bool, unchanged: bool) -> str:
    parts = [
        "Each pair: where the image started, and what it became."
        if known and not unchanged
        else "Real images, as they were chosen."
        if unchanged
        else "Final images; where they started is no longer known."
    ]
    if per_class > most:
        parts.append(f"{most} of {per_class} images per class are shown.")
    if len(distilled.class_names) > MOST_CLASSES:
        parts.append(f"{MOST_CLASSES} of {len(distilled.class_names)} classes are shown.")
    return " ".join(parts)


def _initial(folder: Path, count: int) -> Tensor | None:
    try:
        return initial_images(folder, count)
    except Exception:  # the final images are worth showing without their beginnings
        return None


def _scaled(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[-2:] == size or not len(images):
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def _bytes(images: Tensor) -> Tensor:
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def _png(image: Tensor) -> str:
    """Return an image (channels, height, width) in [0, 1] as a data URI; beyond is clipped."""
    array = _bytes(image).permute(1, 2, 0).numpy()
    picture = Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

"""Contact sheets: a row per class, enlarged without smoothing, initial and final side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddkit.runtime.files import replacing
from ddkit.runtime.shown import shown
from ddkit.synthesis.images import as_pixels

CELL = 64  # pixels that an image is enlarged to at least
GAP = 8
PAIR_GAP = 3  # between initial and final
MAX_LABEL = 160  # pixels of a class name at most
PREVIEWED, MAX_CLASSES = 100, 20  # images and classes of a notebook's picture
INK, PAPER = (40, 40, 40), (255, 255, 255)


class Pictured(Protocol):
    """What a sheet shows of a set."""

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def classes(self) -> Tensor: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def pixels(self, rows: Tensor) -> Tensor:
        """Return the images at `rows` in data space, float32."""


def draw(
    distilled: Pictured,
    initial: Tensor | None,
    path: Path,
    *,
    per_class: int,
    max_classes: int,
) -> None:
    """Write the sheet as a PNG, whole or not at all; `sheet` says what is on it."""
    image = sheet(distilled, initial, per_class=per_class, max_classes=max_classes)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


def preview(distilled: Pictured) -> Image.Image:
    """Return a sheet of about 100 final images at most, as a notebook shows it."""
    count = min(len(distilled.class_names), MAX_CLASSES)
    return sheet(distilled, None, per_class=max(1, PREVIEWED // count), max_classes=count)


def sheet(
    distilled: Pictured, initial: Tensor | None, *, per_class: int, max_classes: int
) -> Image.Image:
    """Return a sheet with a row per class.

    Args:
        initial: (N, channels, height, width) in data space, shown left of each final image.
        per_class, max_classes: how much of a large set is shown.
    """
    scale = max(1, -(-CELL // distilled.shape[-1]))
    height, width = distilled.shape[-2] * scale, distilled.shape[-1] * scale
    font = ImageFont.load_default(size=14)
    names = [
        _fitting(shown(name[:MAX_LABEL]), font) for name in distilled.class_names[:max_classes]
    ]
    rows = [(distilled.classes == c).nonzero().flatten()[:per_class] for c in range(len(names))]
    columns = max(len(row) for row in rows)
    caption = "final images" if initial is None else "each pair: initial image, final image"
    header = 14 + 2 * GAP
    margin = round(max(font.getlength(name) for name in names)) + 2 * GAP
    cell = (2 * width + PAIR_GAP if initial is not None else width) + GAP
    image = Image.new(
        "RGB",
        (
            max(margin + columns * cell, round(font.getlength(caption)) + 2 * GAP),
            header + len(rows) * (height + GAP),
        ),
        PAPER,
    )
    ink = ImageDraw.Draw(image)
    ink.text((GAP, GAP), caption, fill=INK, font=font)
    for y, (name, row) in enumerate(zip(names, rows, strict=True)):
        top = header + y * (height + GAP)
        ink.text((GAP, top + height // 2), name, fill=INK, font=font, anchor="lm")
        final = distilled.pixels(row)
        for x in range(len(row)):
            left = margin + x * cell
            if initial is not None:
                image.paste(_picture(as_pixels(initial[row[x]]), (height, width)), (left, top))
                left += width + PAIR_GAP
            image.paste(_picture(final[x], (height, width)), (left, top))
    return image


def _picture(pixels: Tensor, size: tuple[int, int]) -> Image.Image:
    """Return one image (channels, height, width) in [0, 1], enlarged; values beyond are clipped."""
    array = pixels.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)
    return picture.convert("RGB").resize((size[1], size[0]), Image.Resampling.NEAREST)


def _fitting(name: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """Shorten a class name to the width of its column."""
    while font.getlength(name) > MAX_LABEL and len(name) > 2:
        name = name[:-2] + "…"
    return name

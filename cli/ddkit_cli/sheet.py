"""Contact sheets: a row per class, enlarged without smoothing, initial and final side by side."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddkit.distilled import DistilledDataset, as_pixels
from ddkit.storage import TensorFile, replacing

CELL = 64  # pixels that an image is enlarged to at least
GAP = 6
LABEL = 120  # width of the column of class names
INK = (40, 40, 40)


def initial_images(folder: Path, count: int) -> Tensor | None:
    """Return where the images of a run started, (count, channels, height, width), or None."""
    files = [
        TensorFile(path)
        for path in sorted((folder / "shards").glob("shard-*.safetensors"))
        if ".checkpoint" not in path.name
    ]
    if not files or sum(len(file["slots"]) for file in files) != count:
        return None
    order = torch.cat([file["slots"] for file in files]).argsort()
    return torch.cat([file["initial"] for file in files])[order]


def draw(
    distilled: DistilledDataset, initial: Tensor | None, path: Path, *, per_class: int,
    max_classes: int,
) -> None:  # fmt: skip
    """Write the sheet as a PNG, whole or not at all.

    Args:
        initial: (N, channels, height, width) in data space, shown left of each final image.
        per_class, max_classes: how much of a large set is shown.
    """
    scale = max(1, -(-CELL // distilled.shape[-1]))
    side = (distilled.shape[-2] * scale, distilled.shape[-1] * scale)
    pictures = 2 if initial is not None else 1
    names = distilled.class_names[:max_classes]
    rows = [
        (distilled.classes == label).nonzero().flatten()[:per_class] for label in range(len(names))
    ]
    columns = max(len(row) for row in rows)
    cell = (side[0] + GAP, pictures * side[1] + 2 * GAP)
    image = Image.new("RGB", (LABEL + columns * cell[1], GAP + len(rows) * cell[0]), "white")
    ink = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=14)
    for y, (name, row) in enumerate(zip(names, rows, strict=True)):
        top = GAP + y * cell[0]
        ink.text((GAP, top + side[0] // 2), _fitting(name, font), fill=INK, font=font, anchor="lm")
        final = distilled.pixels(row)
        for x in range(len(row)):
            left = LABEL + x * cell[1]
            if initial is not None:
                image.paste(_picture(as_pixels(initial[row[x]]), side), (left, top))
                left += side[1]
            image.paste(_picture(final[x], side), (left, top))
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


def _picture(pixels: Tensor, side: tuple[int, int]) -> Image.Image:
    """Return one image (channels, height, width) in [0, 1], enlarged; values beyond are clipped."""
    array = pixels.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)
    return picture.convert("RGB").resize((side[1], side[0]), Image.Resampling.NEAREST)


def _fitting(name: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """Shorten a class name to the width of its column."""
    while font.getlength(name) > LABEL - 2 * GAP and len(name) > 2:
        name = name[:-2] + "…"
    return name

"""Differentiable siamese augmentation, DSA (Zhao & Bilen 2021), on network inputs.

Parameters are drawn for a whole set of images; slices of them augment the images batch by batch,
and the same ones augment again whatever must match.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddkit.data.augmentation.augment import crop
from ddkit.data.augmentation.sampling import LinearMap, sample
from ddkit.runtime.errors import unknown

DSA_STRATEGY = "color_crop_cutout_flip_scale_rotate"
Mode = Literal["single", "multiple", "layered"]
Scheme = Literal["dsa", "dsa-layered", "color-crop", "color-crop-cutout"]
Size = tuple[int, int]  # height and width

SCHEMES: dict[Scheme, tuple[str, Mode]] = {  # beside DSA's, those of IDC, which NCFM took over
    "dsa": (DSA_STRATEGY, "single"),
    "dsa-layered": ("color_crop_flip_scale_rotate", "layered"),
    "color-crop": ("color_crop", "layered"),
    "color-crop-cutout": ("color_crop_cutout", "layered"),
}

# The constants of the released code.
FLIP = 0.5  # probability
SCALE = 1.2  # sampling distance from 1 / 1.2 to 1.2, for each axis
ROTATE = 15.0  # degrees, either way
CROP = 0.125  # largest shift, of the side
CUTOUT = 0.5  # side of the hole, of the side
BRIGHTNESS = 1.0  # width of the interval around 0 that is added
SATURATION = 2.0  # largest factor; the lowest is 0
CONTRAST = 0.5  # lowest factor; the largest is 1 more


@dataclass(frozen=True, eq=False)
class DsaParameters:
    """What is done to each of N images.

    Attributes:
        steps: the operations that all images get, in order, each with its parameters, a row per
            image. color: float32 (N, 3), offset of brightness, factors of saturation and contrast.
            crop: int64 (N, 2), rows and columns by which the window moves. cutout: int64 (N, 2),
            row and column of the hole's centre. flip: bool (N,), what is mirrored. scale: float32
            (N, 2), sampling distance along y and x; above 1 shrinks. rotate: float32 (N,), radians.
    """

    steps: tuple[tuple[str, Tensor], ...]

    @property
    def operation(self) -> str:
        """The names of the operations, joined by "_"; "" is none."""
        return "_".join(name for name, _ in self.steps)

    def __getitem__(self, rows: slice | Tensor) -> "DsaParameters":
        """Return the parameters of some images, by slice or indices, which may repeat."""
        return DsaParameters(tuple((name, values[rows]) for name, values in self.steps))

    def to(self, device: torch.device | str) -> "DsaParameters":
        """Return the same parameters on `device`."""
        ahead = torch.device(device).type == "cuda"  # the host goes on, and needs not wait
        steps = ((name, values.to(device, non_blocking=ahead)) for name, values in self.steps)
        return DsaParameters(tuple(steps))


def draw_dsa(
    n: int,
    size: Size,
    generator: Generator,
    *,
    strategy: str = DSA_STRATEGY,
    mode: Mode = "single",
    flip: bool = True,
) -> DsaParameters:
    """Draw the augmentation of `n` images.

    Args:
        n: how many images.
        size: their (height, width).
        generator: where all random numbers come from; the parameters lie on its device.
        strategy: operations joined by "_": color, crop, cutout, flip, scale, rotate.
        mode: `single` draws one operation for all images ("S" in the released code), `multiple`
            applies all of them in order ("M"), `layered` flip, color, one of the others, and
            cutout (IDC's code). Parameters are drawn per image in all.
        flip: False takes `flip` out of the strategy, for digits.

    Raises:
        DdkitError: an unknown operation or mode.
    """
    if mode not in get_args(Mode):
        raise unknown("DSA mode", mode, get_args(Mode))
    names = [name for name in strategy.split("_") if name]
    for name in names:
        if name not in OPERATIONS:
            raise unknown("DSA operation", name, OPERATIONS)
    names = [name for name in names if flip or name != "flip"]
    if mode == "single":
        names = _one_of(names, generator)
    if mode == "layered":
        others = [name for name in names if name not in ("flip", "color", "cutout")]
        ordered = ["flip", "color", *_one_of(others, generator), "cutout"]
        names = [name for name in ordered if name in names]
    return DsaParameters(tuple((name, OPERATIONS[name].draw(n, size, generator)) for name in names))


def draw_scheme(
    scheme: Scheme, n: int, size: Size, generator: Generator, *, flip: bool
) -> DsaParameters:
    """Draw the augmentation of `n` images as a scheme says; see `draw_dsa`."""
    strategy, mode = SCHEMES[scheme]
    return draw_dsa(n, size, generator, strategy=strategy, mode=mode, flip=flip)


def apply_dsa(images: Tensor, parameters: DsaParameters) -> Tensor:
    """Return `images` augmented, each by its own parameters.

    Differentiable in `images`, floating point (N, channels, H, W). Augmenting a part of the images
    by that part of the parameters gives that part of the result.
    """
    for name, values in parameters.to(images.device).steps:
        images = OPERATIONS[name].apply(images, values)
    return images


def _one_of(names: list[str], generator: Generator) -> list[str]:
    """Draw one of some names; none of none."""
    if not names:
        return []
    return [names[int(torch.randint(len(names), (), generator=generator, device=generator.device))]]


def _uniform(*shape: int, generator: Generator) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _integers(n: int, lowest: list[int], highest: list[int], generator: Generator) -> Tensor:
    """Draw int64 (N, 2), each column between its own two bounds, both of them included."""
    columns = [
        torch.randint(low, high + 1, (n,), generator=generator, device=generator.device)
        for low, high in zip(lowest, highest, strict=True)
    ]
    return torch.stack(columns, dim=1)


def _draw_color(n: int, size: Size, generator: Generator) -> Tensor:
    brightness, saturation, contrast = _uniform(3, n, generator=generator)
    return torch.stack(
        [(brightness - 0.5) * BRIGHTNESS, saturation * SATURATION, contrast + CONTRAST], dim=1
    )


def _color(images: Tensor, values: Tensor) -> Tensor:
    """Brightness, saturation and contrast, one after the other."""
    brightness, saturation, contrast = values.to(images.dtype).view(-1, 3, 1, 1, 1).unbind(1)
    images = images + brightness
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * saturation + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean


def _reach(size: Size) -> list[int]:
    return [int(side * CROP + 0.5) for side in size]


def _draw_crop(n: int, size: Size, generator: Generator) -> Tensor:
    reach = _reach(size)
    return _integers(n, [-most for most in reach], reach, generator)


def _shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Pad with 0 and cut out the shifted window."""
    height, width = images.shape[2:]
    y, x = _reach((height, width))
    top, left = shift[:, 0] + y, shift[:, 1] + x
    return crop(F.pad(images, (x, x, y, y)), top, left, height, width)


def _shifted_back(images: Tensor, shift: Tensor) -> Tensor:
    return _shifted(images, -shift)


def _crop(images: Tensor, shift: Tensor) -> Tensor:
    moved: Tensor = LinearMap.apply(images, shift, _shifted, _shifted_back)
    return moved


def _draw_cutout(n: int, size: Size, generator: Generator) -> Tensor:
    # A hole of odd width is centred on a pixel, one of even width on the edge before one.
    last = [side - int(side * CUTOUT + 0.5) % 2 for side in size]
    return _integers(n, [0, 0], last, generator)


def _cutout(images: Tensor, centre: Tensor) -> Tensor:
    """Set a hole of half the height and half the width to 0."""
    hole = torch.ones(len(images), 1, 1, dtype=torch.bool, device=images.device)
    for axis, position in enumerate(_pixels(images)):
        extent = int(images.shape[2 + axis] * CUTOUT + 0.5)
        first = centre[:, axis].view(-1, 1, 1) - extent // 2
        hole = hole & (position >= first) & (position < first + extent)
    return images * ~hole.unsqueeze(1)


def _draw_flip(n: int, size: Size, generator: Generator) -> Tensor:
    return _uniform(n, generator=generator) < FLIP


def _flip(images: Tensor, mirrored: Tensor) -> Tensor:
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


def _draw_scale(n: int, size: Size, generator: Generator) -> Tensor:
    return _uniform(n, 2, generator=generator) * (SCALE - 1 / SCALE) + 1 / SCALE


def _scale(images: Tensor, stretch: Tensor) -> Tensor:
    y, x = _centres(images)
    stretch = stretch.to(images.dtype).view(-1, 2, 1, 1)
    return sample(images, y * stretch[:, 0], x * stretch[:, 1])


def _draw_rotate(n: int, size: Size, generator: Generator) -> Tensor:
    return (_uniform(n, generator=generator) - 0.5) * 2 * math.radians(ROTATE)


def _rotate(images: Tensor, angle: Tensor) -> Tensor:
    y, x = _centres(images)
    angle = angle.to(images.dtype).view(-1, 1, 1)
    sine, cosine = angle.sin(), angle.cos()
    return sample(images, sine * x + cosine * y, cosine * x - sine * y)


@dataclass(frozen=True)
class Operation:
    """How parameters are drawn, from (n, size, generator), and how they change images."""

    draw: Callable[[int, Size, Generator], Tensor]
    apply: Callable[[Tensor, Tensor], Tensor]


OPERATIONS = {
    "color": Operation(_draw_color, _color),
    "crop": Operation(_draw_crop, _crop),
    "cutout": Operation(_draw_cutout, _cutout),
    "flip": Operation(_draw_flip, _flip),
    "scale": Operation(_draw_scale, _scale),
    "rotate": Operation(_draw_rotate, _rotate),
}


def _pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column numbers, (1, H, 1) and (1, 1, W)."""
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device).view(1, -1, 1)
    return y, torch.arange(width, device=images.device).view(1, 1, -1)


def _centres(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels' centres along y and x, from -1 to 1 between the edges of the image."""
    height, width = images.shape[2:]
    y, x = (position.to(images.dtype) for position in _pixels(images))
    return (2 * y + 1) / height - 1, (2 * x + 1) / width - 1

"""Differentiable siamese augmentation, DSA (Zhao & Bilen 2021), on network inputs.

Parameters are drawn for a whole set of images; slices of them augment the images batch by batch,
and the same ones augment again whatever must match.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit.errors import unknown

STRATEGY = "color_crop_cutout_flip_scale_rotate"
Mode = Literal["single", "multiple"]

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
        operation: the operations that all images get, in order, joined by "_"; "" is none.
        brightness, saturation, contrast: float32 (N,), offset, factor and factor.
        shift: int64 (N, 2), rows and columns by which the window of `crop` moves.
        hole: int64 (N, 2), row and column of the centre of the hole of `cutout`.
        mirror: bool (N,), what `flip` mirrors.
        stretch: float32 (N, 2), sampling distance of `scale` along y and x; above 1 shrinks.
        angle: float32 (N,), radians of `rotate`.
    """

    operation: str
    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    shift: Tensor
    hole: Tensor
    mirror: Tensor
    stretch: Tensor
    angle: Tensor

    def __len__(self) -> int:
        return len(self.angle)

    def __getitem__(self, rows: slice | Tensor) -> "DsaParameters":
        """Return the parameters of some images, by slice or indices, which may repeat."""
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> "DsaParameters":
        """Return the same parameters on `device`."""
        ahead = torch.device(device).type == "cuda"  # the host goes on, and needs not wait
        return self._each(lambda tensor: tensor.to(device, non_blocking=ahead))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "DsaParameters":
        names = [field.name for field in fields(self) if field.name != "operation"]
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)


def draw_dsa(
    n: int,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    strategy: str = STRATEGY,
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
            applies all of them in order ("M"). Parameters are drawn per image in both.
        flip: False takes `flip` out of the strategy, for digits.

    Raises:
        DdkitError: an unknown operation or mode.
    """
    if mode not in get_args(Mode):
        raise unknown("DSA mode", mode, get_args(Mode))
    operations = [name for name in strategy.split("_") if name]
    for name in operations:
        if name not in OPERATIONS:
            raise unknown("DSA operation", name, OPERATIONS)
    operations = [name for name in operations if flip or name != "flip"]
    device = generator.device
    if mode == "single" and operations:
        chosen = torch.randint(len(operations), (), generator=generator, device=device)
        operations = [operations[int(chosen)]]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    def integers(low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (n,), generator=generator, device=device)

    reach = [int(side * CROP + 0.5) for side in size]
    # A hole of odd width is centred on a pixel, one of even width on the edge before one.
    last = [side - int(side * CUTOUT + 0.5) % 2 for side in size]
    return DsaParameters(
        operation="_".join(operations),
        brightness=(uniform(n) - 0.5) * BRIGHTNESS,
        saturation=uniform(n) * SATURATION,
        contrast=uniform(n) + CONTRAST,
        shift=torch.stack([integers(-most, most) for most in reach], dim=1),
        hole=torch.stack([integers(0, most) for most in last], dim=1),
        mirror=uniform(n) < FLIP,
        stretch=uniform(n, 2) * (SCALE - 1 / SCALE) + 1 / SCALE,
        angle=(uniform(n) - 0.5) * 2 * math.radians(ROTATE),
    )


def apply_dsa(images: Tensor, parameters: DsaParameters) -> Tensor:
    """Return `images` augmented, each by its own parameters.

    Differentiable in `images`, floating point (N, channels, H, W). Augmenting a part of the images
    by that part of the parameters gives that part of the result.
    """
    parameters = parameters.to(images.device)
    for name in parameters.operation.split("_"):
        if name:
            images = OPERATIONS[name](images, parameters)
    return images


def _color(images: Tensor, parameters: DsaParameters) -> Tensor:
    """Brightness, saturation and contrast, one after the other."""
    images = images + _each(parameters.brightness, images)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * _each(parameters.saturation, images) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * _each(parameters.contrast, images) + mean


def _crop(images: Tensor, parameters: DsaParameters) -> Tensor:
    """Pad with 0 and cut out the shifted window."""
    height, width = images.shape[2:]
    y, x = _pixels(images)
    y, x = y + parameters.shift[:, 0].view(-1, 1, 1), x + parameters.shift[:, 1].view(-1, 1, 1)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    source = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    index = source.flatten(1).unsqueeze(1).expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view_as(images) * inside.unsqueeze(1)


def _cutout(images: Tensor, parameters: DsaParameters) -> Tensor:
    """Set a hole of half the height and half the width to 0."""
    hole = torch.ones(len(images), 1, 1, dtype=torch.bool, device=images.device)
    for axis, position in enumerate(_pixels(images)):
        extent = int(images.shape[2 + axis] * CUTOUT + 0.5)
        first = parameters.hole[:, axis].view(-1, 1, 1) - extent // 2
        hole = hole & (position >= first) & (position < first + extent)
    return images * ~hole.unsqueeze(1)


def _flip(images: Tensor, parameters: DsaParameters) -> Tensor:
    return torch.where(parameters.mirror.view(-1, 1, 1, 1), images.flip(3), images)


def _scale(images: Tensor, parameters: DsaParameters) -> Tensor:
    y, x = _centres(images)
    stretch = parameters.stretch.to(images.dtype).view(-1, 2, 1, 1)
    return _sample(images, y * stretch[:, 0], x * stretch[:, 1])


def _rotate(images: Tensor, parameters: DsaParameters) -> Tensor:
    y, x = _centres(images)
    angle = parameters.angle.to(images.dtype).view(-1, 1, 1)
    sine, cosine = angle.sin(), angle.cos()
    return _sample(images, sine * x + cosine * y, cosine * x - sine * y)


OPERATIONS: dict[str, Callable[[Tensor, DsaParameters], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}


def _each(values: Tensor, images: Tensor) -> Tensor:
    """Return one value per image, shaped to broadcast over it."""
    return values.to(images.dtype).view(-1, 1, 1, 1)


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


def _sample(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample bilinearly at (y, x), each broadcast to (N, H, W); 0 outside of the image."""
    # Not affine_grid: its batched product can round differently in batches of another size.
    shape = (len(images), *images.shape[2:])
    grid = torch.stack([x.expand(shape), y.expand(shape)], dim=3)
    return F.grid_sample(images, grid, align_corners=False)

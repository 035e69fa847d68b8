"""Views: one augmentation of a whole set, drawn beforehand, so that it can be stored and replayed.

A teacher's soft label belongs to one augmented image, CutMix partner included. Replaying it needs
the parameters of that image and of its partner, wherever the two land in later batches.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ddkit.data.augmentation.augment import (
    blend,
    draw_boxes,
    draw_flips,
    draw_patches,
    draw_weights,
    paste,
    resample,
    uncovered,
)
from ddkit.runtime.errors import DdkitError, unknown

Mix = Literal["none", "cutmix", "mixup"]
MIXES: tuple[Mix, ...] = get_args(Mix)

# How each field is stored: as small as it goes without loss.
STORED = {
    "crop": torch.float32,
    "flip": torch.bool,
    "partner": torch.int32,
    "box": torch.int16,
    "weight": torch.float32,
}


@dataclass(frozen=True, eq=False)
class Views:
    """The augmentation of each of N images.

    Attributes:
        crop: float32 (N, 4), top, left, height and width as fractions of the image.
        flip: bool (N,), whether the crop is mirrored.
        partner: integers (N,), index in the whole set of the image mixed in; the own one: none.
        box: integers (N, 4), top, left, bottom and right of the pixels that the partner's view
            covers; empty, all 0, where nothing is pasted.
        weight: float32 (N,), the image's own share of the mix, in [0, 1].
        mix: how the partner is mixed in.
        strips: integers (N, 2, f), the order of the f strips from top to bottom and of those from
            left to right in which an image is put together anew before it is cropped (RDED); None:
            as it is.
    """

    crop: Tensor
    flip: Tensor
    partner: Tensor
    box: Tensor
    weight: Tensor
    mix: Mix
    strips: Tensor | None = None

    def __len__(self) -> int:
        return len(self.crop)

    @property
    def fields(self) -> list[str]:
        """The names of the tensors, which have a row for each image."""
        return [*STORED, *["strips"] * (self.strips is not None)]

    def rows(self, indices: Tensor) -> "Views":
        """Return the views at `indices`; `partner` still counts in the whole set."""
        chosen = replace(self, **{name: getattr(self, name)[indices] for name in self.fields})
        return replace(chosen, partner=chosen.partner.long(), box=chosen.box.long())

    def to(self, device: torch.device | str) -> "Views":
        """Return the same views on `device`."""
        ahead = torch.device(device).type == "cuda"  # the host goes on, and needs not wait
        moved = {n: getattr(self, n).to(device, non_blocking=ahead) for n in self.fields}
        return replace(self, **moved)

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Return what must be stored for `from_tensors`, named `prefix`.crop and so on."""
        kinds = STORED | {"strips": torch.int16}
        stored = {f"{prefix}.{name}": getattr(self, name).to(kinds[name]) for name in self.fields}
        return stored | {f"{prefix}.mix": torch.tensor([MIXES.index(self.mix)], dtype=torch.int16)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], prefix: str) -> "Views":
        """Return the views stored in `tensors` under `prefix`; other names are left alone.

        Integers keep the type in which they are stored, so that those of a mapped file are not
        read before `rows` asks for them.

        Raises:
            DdkitError: a name is missing, or the kind of mix is none that ddkit knows.
        """
        for name in [*STORED, "mix"]:
            if f"{prefix}.{name}" not in tensors:
                raise DdkitError(f"stored views lack '{prefix}.{name}': the file is incomplete")
        crop, flip, partner, box, weight = (tensors[f"{prefix}.{name}"] for name in STORED)
        mix = int(tensors[f"{prefix}.mix"])
        if not 0 <= mix < len(MIXES):
            raise DdkitError(f"stored views '{prefix}' have a mix of kind {mix}: update ddkit")
        strips = tensors.get(f"{prefix}.strips")
        return cls(crop, flip, partner, box, weight, MIXES[mix], strips)


def draw_views(
    n: int,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
    mix: Mix = "cutmix",
    alpha: float = 1.0,
    strips: int = 1,
) -> Views:
    """Draw a random resized crop, a flip and a partner for each of `n` images.

    Args:
        n: how many images the set has.
        size: (height, width) of the images.
        generator: where all random numbers come from; the views lie on its device.
        scale: lowest and highest share of the image that a crop covers.
        ratio: lowest and highest aspect ratio of a crop, width by height.
        flip: mirror every other image; not for digits.
        mix: `cutmix` pastes a box of the partner, `mixup` blends it in, `none` leaves it out.
        alpha: the weights are Beta(alpha, alpha), one per image.
        strips: into how many an image is cut along each side, and put together in random order.

    Raises:
        DdkitError: an unknown `mix`, or `alpha` not above 0.
    """
    if mix not in MIXES:
        raise unknown("mix", mix, MIXES)
    if alpha <= 0:
        raise DdkitError(f"alpha of the mixing weights must be above 0, got {alpha}")
    device = generator.device
    crop = draw_boxes(n, size, generator, scale=scale, ratio=ratio)
    mirrored = draw_flips(n, generator, 0.5 if flip else 0.0)
    own = torch.arange(n, device=device)
    box = torch.zeros(n, 4, dtype=torch.int64, device=device)
    weight = torch.ones(n, device=device)
    order = draw_order(n, strips, generator) if strips > 1 else None
    if mix == "none":
        return Views(crop, mirrored, own, box, weight, mix, order)
    partner = torch.randperm(n, generator=generator, device=device)
    weight = draw_weights(n, generator, alpha)
    if mix == "cutmix":
        box = draw_patches(weight, size, generator) * (partner != own).unsqueeze(1)
        weight = uncovered(box, size)
    weight = weight.where(partner != own, 1.0)
    return Views(crop, mirrored, partner, box, weight, mix, order)


def draw_order(n: int, strips: int, generator: torch.Generator) -> Tensor:
    """Draw orders of strips along both sides, each as likely as another: int64 (n, 2, strips)."""
    places = torch.rand(n, 2, strips, generator=generator, device=generator.device)
    return places.argsort(2)


def with_strips_moved(images: Tensor, order: Tensor) -> Tensor:
    """Return images whose strips stand in another order, along both sides.

    Where the strips do not divide a side, the first ones are a pixel longer.

    Args:
        images: (N, channels, H, W).
        order: integers (N, 2, strips): which strip stands first, second and so on.
    """
    rows, columns = (pixel_order(order[:, side].long(), images.shape[2 + side]) for side in (0, 1))
    images = images.gather(2, rows[:, None, :, None].expand_as(images))
    return images.gather(3, columns[:, None, None, :].expand_as(images))


def pixel_order(order: Tensor, length: int) -> Tensor:
    """Return which pixel stands where along a side: int64 (N, strips) → (N, length)."""
    strips = order.shape[1]
    lengths = torch.full((strips,), length // strips, device=order.device)
    lengths[: length % strips] += 1
    strip = torch.arange(strips, device=order.device).repeat_interleave(lengths)
    places = order.argsort(1)  # where each strip goes
    return places[:, strip].argsort(stable=True, dim=1)


def render(images: Tensor | Callable[[Tensor], Tensor], views: Views, rows: Tensor) -> Tensor:
    """Return the augmented images at `rows`, the same whatever else is in the batch.

    Row i is crop and flip of image i by its own parameters; then the box, or the blend, of its
    partner's crop and flip by the partner's parameters.

    Args:
        images: the whole set, floating point (N, channels, H, W) in data space; or a function from
            indices (B,) to those images.
        views: of the whole set, for partners lie anywhere in it.
        rows: int64 (B,).
    """

    rows = rows.to(views.crop.device)

    def view(indices: Tensor) -> Tensor:
        if isinstance(images, Tensor):
            gathered = images.index_select(0, indices.to(images.device))
        else:
            gathered = images(indices)
        if views.strips is not None:
            gathered = with_strips_moved(gathered, views.strips[indices])
        return resample(gathered, views.crop[indices], views.flip[indices])

    own = view(rows)
    if views.mix == "none":
        return own
    other = view(views.partner[rows])
    if views.mix == "mixup":
        return blend(own, other, views.weight[rows])
    return paste(own, other, views.box[rows])

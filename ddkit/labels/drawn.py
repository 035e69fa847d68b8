"""Views that need no storage: the augmentations of each epoch follow from a seed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ddkit.data.augmentation.views import Mix, Views, draw_views
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.seeds import generator

PURPOSE = "label views"
TOLERANCE = 1e-5  # of the check; rounding changes it by 1e-7, other draws of 10⁵ images by 1e-3


@dataclass(frozen=True)
class DrawnViews:
    """The augmentations of all images in any epoch, drawn again wherever they are needed.

    Attributes:
        seed: of the run that labelled.
        count: how many images the set has.
        size: (height, width) of the images.
        scale, flip, mix, strips: as for `draw_views`.
        check: what `checksum` was where the labels were made; another torch that draws otherwise
            is found out by it. None: nothing to compare with.
    """

    seed: int
    count: int
    size: tuple[int, int]
    scale: tuple[float, float]
    flip: bool
    mix: Mix
    check: float | None = None
    strips: int = 1

    def of(self, epoch: int) -> Views:
        """Return the views of all images in an epoch; raises `DdkitError` where they are others."""
        if self.check is not None and abs(self.checksum - self.check) > TOLERANCE * self.check:
            raise DdkitError(
                "the augmentations of these labels come out differently here, with another torch "
                "or processor: store them where the labels were made, with `ddkit relabel "
                "--label-views stored`"
            )
        return self._draw(epoch)

    @cached_property
    def checksum(self) -> float:
        """A number that follows from all parameters of the first epoch, up to rounding."""
        views = self._draw(0)
        each = views.crop.sum(1) + views.flip + views.weight
        return float((each.double() * (views.partner + 1)).mean())

    def about(self) -> dict[str, Any]:
        """Return what `from_about` needs, as JSON."""
        about = {**asdict(self), "check": self.checksum}
        return about if self.strips > 1 else {k: v for k, v in about.items() if k != "strips"}

    @classmethod
    def from_about(cls, about: Mapping[str, Any]) -> "DrawnViews":
        (height, width), (low, high) = about["size"], about["scale"]
        return cls(**{**about, "size": (height, width), "scale": (low, high)})

    def _draw(self, epoch: int) -> Views:
        return draw_views(
            self.count,
            self.size,
            generator(self.seed, PURPOSE, epoch),
            scale=self.scale,
            flip=self.flip,
            mix=self.mix,
            strips=self.strips,
        )

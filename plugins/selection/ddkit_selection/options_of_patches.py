"""The options of RDED: patches of real images, put together and labelled epoch by epoch."""

from typing import Literal

from ddkit import MethodOptions, StageName, option

SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
RELABEL: tuple[StageName, ...] = ("relabel",)
LARGE = 96  # pixels, from which on an image holds four patches


class PatchOptions(MethodOptions):
    """Defaults are those of RDED's released code."""

    collage: int = option(
        0,
        "rule=rded: an image is put together of this many patches along each side; 0: 2 from 96 "
        "pixels on, else 1",
        stages=("synthesis", "relabel"),
        ge=0,
    )
    candidates: int = option(
        300,
        "rule=rded: random training images of a class that patches are cut out of; at least as "
        "many as it needs patches",
        stages=SYNTHESIS,
        ge=1,
    )
    crops: int = option(
        5,
        "rule=rded: random patches of each of them, the best of which stays",
        stages=SYNTHESIS,
        ge=1,
    )
    patch_scale: float = option(
        0.08,
        "rule=rded: smallest share of an image in a patch",
        stages=SYNTHESIS,
        gt=0,
        le=1,
    )
    labels: Literal["epoch", "hard"] = option(
        "hard",
        "epoch: soft labels of the teachers for a new augmentation in each epoch (RDED); hard: the "
        "classes",
        stages=RELABEL,
    )
    label_epochs: int = option(300, "epochs that labels are made for", stages=RELABEL, ge=1)
    temperature: float = option(
        20.0, "temperature of the loss that these labels are for", stages=RELABEL, gt=0
    )
    mix: Literal["cutmix", "mixup", "none"] = option(
        "cutmix", "mixing of labelled images", stages=RELABEL
    )

    @property
    def labels_epochs(self) -> bool:
        return self.labels == "epoch"

    def patches_along(self, shape: tuple[int, ...]) -> int:
        """Return how many patches an image (channels, height, width) holds along each side."""
        return self.collage or (2 if min(shape[1:]) >= LARGE else 1)

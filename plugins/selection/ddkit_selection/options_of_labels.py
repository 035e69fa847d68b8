"""The options of the labels: RDED's, or the classes."""

from typing import Literal

from ddkit import MethodOptions, StageName, option

RELABEL: tuple[StageName, ...] = ("relabel",)


class LabelOptions(MethodOptions):
    """Defaults are those of RDED's released code, but for the labels, which it alone has."""

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

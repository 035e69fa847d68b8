"""The options of selection: the rule, the features, and the networks they come from."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from ddkit import PatchOptions, StageName, TrainingOptions, option
from ddkit_selection.options_of_labels import LabelOptions

ROLE = "teacher"
POOL: tuple[StageName, ...] = ("pool",)
SYNTHESIS: tuple[StageName, ...] = ("synthesis",)


class SelectionOptions(LabelOptions, PatchOptions, TrainingOptions):
    """What the networks need is asked of the run in `check`: `needs` would bind pixels too."""

    later: ClassVar[frozenset[str]] = frozenset(
        {*PatchOptions.model_fields, *LabelOptions.model_fields}
    )
    provides: ClassVar[tuple[str, ...]] = (ROLE,)
    shorter: ClassVar[tuple[tuple[str, int], ...]] = (
        ("train_epochs", 3),
        ("label_epochs", 20),
        ("crops", 1),
    )
    keeps_budget: ClassVar[bool] = True
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "pool": ("train_batch",),
        "synthesis": ("teachers",),
        "relabel": ("teachers",),
    }

    rule: Literal["herding", "k-center", "rded"] = option(
        "herding",
        "herding: the mean of the selected images follows the mean of the class; k-center: no "
        "image is far from the nearest selected one; rded: images put together of the patches that "
        "networks recognise best",
        stages=SYNTHESIS,
    )
    features: Literal["network", "pixels"] = option(
        "network",
        "network: the input of the last linear layer of networks trained on all real data; "
        "pixels: the image itself, and no network is trained",
        stages=("pool", "synthesis"),
    )
    teachers: int = option(
        1,
        "number of networks whose features are used side by side; in a larger pool, the last ones",
        stages=("pool", "synthesis", "relabel"),
        ge=1,
    )

    @property
    def own_protocol(self) -> tuple[str, Mapping[str, Any]] | None:
        """RDED's rate falls to a half; others as their kind of labels says."""
        return ("soft", {"schedule": "cosine:2"}) if self.rule == "rded" else None

    @model_validator(mode="after")
    def _networks_where_needed(self) -> Self:
        needing = {"rule=rded": self.rule == "rded", "labels=epoch": self.labels_epochs}
        for what, needed in needing.items():
            if needed and self.features == "pixels":
                raise ValueError(f"{what} needs networks, and features=pixels has none")
        return self

    def rehearsed(self) -> Mapping[str, Any]:
        # patches of a thousand classes would be looked for: whole images are as large
        rule = "herding" if self.rule == "rded" else self.rule
        return {"train_epochs": 2, "label_epochs": 2, "rule": rule}

    def work(self, stage: StageName, per_epoch: int) -> float:
        return self.train_epochs * per_epoch if stage == "pool" else self.volume(stage)

    def volume(self, stage: StageName) -> float:
        return self.label_epochs if stage == "relabel" and self.labels_epochs else 1.0

"""The options of coreset selection: the rule, the features, and the networks they come from."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from ddkit import StageName, TrainingOptions, option

ROLE = "teacher"
POOL: tuple[StageName, ...] = ("pool",)
SYNTHESIS: tuple[StageName, ...] = ("synthesis",)


class SelectionOptions(TrainingOptions):
    """What the networks need is asked of the run in `check`: `needs` would bind pixels too."""

    provides: ClassVar[tuple[str, ...]] = (ROLE,)
    shorter: ClassVar[tuple[tuple[str, int], ...]] = (("train_epochs", 3),)
    keeps_budget: ClassVar[bool] = True
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "pool": ("train_batch",),
        "synthesis": ("teachers",),
    }

    rule: Literal["herding", "k-center"] = option(
        "herding",
        "herding: the mean of the selected images follows the mean of the class; k-center: no "
        "image is far from the nearest selected one",
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
        stages=("pool", "synthesis"),
        ge=1,
    )

    def rehearsed(self) -> Mapping[str, Any]:
        return {"train_epochs": 2}

    def work(self, stage: StageName, per_epoch: int) -> float:
        return self.train_epochs * per_epoch if stage == "pool" else 1.0

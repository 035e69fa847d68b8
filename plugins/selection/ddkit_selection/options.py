"""The options of coreset selection: the rule, the features, and the networks they come from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ddkit import SCHEDULE, MethodOptions, StageName, option

if TYPE_CHECKING:
    pass

ROLE = "teacher"
POOL: tuple[StageName, ...] = ("pool",)
SYNTHESIS: tuple[StageName, ...] = ("synthesis",)


class SelectionOptions(MethodOptions):
    """What the networks need is asked of the run in `check`: `needs` would bind pixels too."""

    provides: ClassVar[tuple[str, ...]] = (ROLE,)
    keeps_budget: ClassVar[bool] = True
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "pool": ("train_batch",), "synthesis": ("teachers",),
    }  # fmt: skip

    rule: Literal["herding", "k-center"] = option(
        "herding",
        "herding: the mean of the chosen follows the mean of the class; k-center: no image is far "
        "from the nearest chosen one",
        stages=SYNTHESIS,
    )
    features: Literal["network", "pixels"] = option(
        "network",
        "network: what the last linear layer of networks trained on all real data sees; pixels: "
        "the inputs, and no network is trained",
        stages=("pool", "synthesis"),
    )
    teachers: int = option(
        1,
        "how many networks the features come from, side by side; of a pool of more, the last ones",
        stages=("pool", "synthesis"),
        ge=1,
    )
    train_epochs: int = option(30, "epochs of each network", stages=POOL, ge=1)
    train_lr: float = option(0.01, "learning rate of the networks", stages=POOL, gt=0)
    train_batch: int = option(256, "batch size of the networks", stages=POOL, ge=1)
    train_momentum: float = option(0.9, "momentum of the networks", stages=POOL, ge=0, lt=1)
    train_decay: float = option(5e-4, "weight decay of the networks", stages=POOL, ge=0)
    train_schedule: str = option(
        "half", "constant, cosine, half (×0.1 from the middle on), or step:N", stages=POOL,
        pattern=SCHEDULE,
    )  # fmt: skip
    train_augmentation: Literal["dsa", "crop-flip", "none"] = option(
        "dsa", "of the real images that the networks are trained on", stages=POOL
    )

    def rehearsed(self) -> Mapping[str, Any]:
        return {"train_epochs": 2}

    def work(self, stage: StageName, per_epoch: int) -> float:
        return self.train_epochs * per_epoch if stage == "pool" else 1.0

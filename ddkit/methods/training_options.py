"""The options of methods whose pool is trained on all real data."""

import copy
from typing import Any, Literal

from ddkit.config import StageName
from ddkit.methods.options import MethodOptions, option
from ddkit.training.recipe import SCHEDULE, Recipe

POOL: tuple[StageName, ...] = ("pool",)


class TrainingOptions(MethodOptions):
    """How the networks of a pool are trained, by SGD. A subclass names other defaults:

    class MyOptions(TrainingOptions, train_epochs=100, train_lr=0.05): ...
    """

    train_epochs: int = option(
        30, "epochs that each network of the pool is trained for", stages=POOL, ge=1
    )
    train_lr: float = option(0.01, "learning rate of this training", stages=POOL, gt=0)
    train_batch: int = option(256, "batch size of this training", stages=POOL, ge=1)
    train_momentum: float = option(0.9, "momentum of this training", stages=POOL, ge=0, lt=1)
    train_decay: float = option(5e-4, "weight decay of this training", stages=POOL, ge=0)
    train_schedule: str = option(
        "half",
        "schedule of this learning rate: constant, cosine, cosine:N (its first of N parts), half "
        "(×0.1 from the middle on), step:N, or drop:0.2:2/3:5/6 (×0.2 after these parts)",
        stages=POOL,
        pattern=SCHEDULE,
    )
    train_augmentation: Literal["dsa", "color-crop", "crop-flip", "none"] = option(
        "dsa", "augmentation of the real images in this training", stages=POOL
    )

    def __init_subclass__(cls, **defaults: Any) -> None:
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, **defaults: Any) -> None:
        for name, value in defaults.items():
            field = copy.copy(cls.model_fields[name])
            field.default = value
            cls.model_fields[name] = field
        if defaults:
            cls.model_rebuild(force=True)

    @property
    def recipe(self) -> Recipe:
        """How each network is trained."""
        return Recipe(
            epochs=self.train_epochs,
            batch_size=self.train_batch,
            optimiser="sgd",
            lr=self.train_lr,
            momentum=self.train_momentum,
            weight_decay=self.train_decay,
            schedule=self.train_schedule,
        )

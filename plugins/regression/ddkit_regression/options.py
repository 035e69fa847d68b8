"""The options of the four methods. Defaults are FRePo's; the aliases say what the others do."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ddkit import MethodOptions, StageName, option
from ddkit_regression.options_of_networks import NetworkOptions

SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
EVALUATE: tuple[StageName, ...] = ("evaluate",)
FREPO_RECIPE = {"lr": 3e-4}
RCIG_RECIPE = {"steps": ((10, 1000), (100, 2000))}
SGD_RECIPE = {  # RFAD and KIP choose the rate by a grid
    "steps": ((1, 5000),),
    "batch_size": 100,
    "optimiser": "sgd",
    "lr": 1e-2,
    "weight_decay": 1e-3,
    "warmup": 0,
    "floor": 0.0,
}


class RegressionOptions(NetworkOptions, MethodOptions):
    """What predicts real images, how images and targets move, and how sets are judged."""

    default_network: ClassVar[str | None] = "convnet:norm=none:growth=2:init=lecun"
    steps_option: ClassVar[str | None] = "updates"
    shorter: ClassVar[tuple[tuple[str, int], ...]] = (
        ("updates", 2000),
        ("batch_real", 500),
        ("updates", 20),
    )
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {"synthesis": ("batch_real",)}

    kernel: Literal["features", "tangent-fc", "random", "body"] = option(
        "features",
        "what predicts real images from the set. features: those of networks that are trained on "
        "the set all the while (FRePo); tangent-fc: the tangent kernel of infinitely wide fully "
        "connected networks (KIP); random: features of random networks (RFAD); body: features and "
        "the tangent kernel of the layers below them (RCIG)",
        stages=SYNTHESIS,
    )
    loss: Literal["squares", "cross-entropy"] = option(
        "squares",
        "of the predictions: half the squared error, or the cross-entropy at a learned temperature",
        stages=SYNTHESIS,
    )
    margin: float = option(
        0.0,
        "by how much the largest target is to exceed the second, in units of 1 / classes; 0: no "
        "such term",
        stages=SYNTHESIS,
        ge=0,
    )
    ridge: float = option(
        1e-6,
        "of the regression, in units of the kernel's mean diagonal; with kernel=body times the "
        "number of images",
        stages=SYNTHESIS,
        gt=0,
    )
    flip: bool = option(
        False,
        "learn from mirror images as well, where they keep their classes",
        stages=SYNTHESIS,
    )

    # how images and targets move
    updates: int = option(5000, "steps; the names have their own", stages=SYNTHESIS, ge=1)
    batch_real: int = option(1024, "real images in a step", stages=SYNTHESIS, ge=1)
    balanced: bool = option(False, "as many of each class", stages=SYNTHESIS)
    optimiser: Literal["lamb", "adam", "adabelief"] = option(
        "lamb", "optimiser of images and targets", stages=SYNTHESIS
    )
    schedule: Literal["constant", "cosine"] = option(
        "constant", "of their learning rates; cosine: to a tenth", stages=SYNTHESIS
    )
    lr_images: float = option(3e-4, "learning rate of the pixels", stages=SYNTHESIS, gt=0)
    lr_targets: float = option(3e-4, "learning rate of the targets", stages=SYNTHESIS, gt=0)
    lr_temperature: float = option(
        1e-2,
        "learning rate of the logarithm of the inverse temperature (AdaBelief)",
        stages=SYNTHESIS,
        gt=0,
    )
    targets: Literal["learned", "fixed"] = option(
        "learned", "whether targets are learned, or stay as they begin", stages=SYNTHESIS
    )
    scale_targets: bool = option(
        False, "divide the first targets by √(classes / 10)", stages=SYNTHESIS
    )
    average: float = option(
        0.0,
        "share of a moving average of images and targets that each step keeps; it is the result. "
        "0: none",
        stages=SYNTHESIS,
        ge=0,
        lt=1,
    )

    evaluation_steps: int = option(
        0, "steps of the method's own recipe; 0: as published", stages=EVALUATE, ge=0
    )

    @property
    def own_protocol(self) -> tuple[str, Mapping[str, Any]] | None:
        """How the authors train networks on their sets."""
        recipes: dict[str, Mapping[str, Any]] = {"features": FREPO_RECIPE, "body": RCIG_RECIPE}
        recipe = recipes.get(self.kernel, SGD_RECIPE)
        said = {"steps": ((1, self.evaluation_steps),)} if self.evaluation_steps else {}
        return "regression", {**recipe, **said}

    @model_validator(mode="after")
    def _fits_together(self) -> "RegressionOptions":
        if self.margin and self.targets == "fixed":
            raise ValueError("margin is a term of learned targets: leave it out, or learn them")
        return self

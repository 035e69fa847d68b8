"""The options of matching: the papers', with the numbers of the released code."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from ddkit import StageName, option
from ddkit_matching.options_of_losses import SYNTHESIS, LossOptions
from ddkit_matching.options_of_networks import NetworkOptions

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""Outer and inner loop by images per class, as the released code of DC has them."""
GRADIENT_NETWORKS = 1000
DISTRIBUTION_NETWORKS = 20_000
DC_EPOCHS = 300  # of an evaluation in DC's released code
NCFM_RECIPE = {
    "epochs": 2000,
    "batch_size": 128,
    "optimiser": "adamw",
    "lr": 1e-3,
    "schedule": "drop:0.5:1/5:2/5:3/5:4/5",
}


class MatchingOptions(LossOptions, NetworkOptions):
    """Zeros stand for published numbers, which follow from what is matched and from the IPC."""

    later: ClassVar[frozenset[str]] = frozenset(
        {*LossOptions.model_fields, *NetworkOptions.model_fields}
    )
    at_once: ClassVar[bool] = True
    provides: ClassVar[tuple[str, ...]] = ("pair",)
    steps_option: ClassVar[str | None] = "updates"
    shorter: ClassVar[tuple[tuple[str, int], ...]] = (
        ("members", 5),
        ("updates", 1000),
        ("train_epochs", 20),
        ("members", 2),
        ("updates", 20),
        ("train_epochs", 2),
    )
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "pool": ("train_batch",),
        "synthesis": ("batch_real", "batch_network"),
    }

    match: Literal["gradient", "distribution", "characteristic"] = option(
        "gradient",
        "gradient: gradients of real and synthetic images of a class (DC, DSA, IDC); distribution: "
        "their mean features (DM, IDM); characteristic: the characteristic functions of these "
        "(NCFM)",
        stages=SYNTHESIS,
    )
    augmentation: Literal["none", "dsa", "color-crop", "color-crop-cutout"] = option(
        "none",
        "dsa: differentiable siamese augmentation, the same for real and synthetic images of a "
        "class; the others: all that they name, as IDC and NCFM",
        stages=SYNTHESIS,
    )
    updates: int = option(
        0,
        "steps of the pixels; 0: as published, outer_loop steps with each of 1000 networks for "
        "gradients, 20000 for distributions",
        stages=SYNTHESIS,
        ge=0,
    )
    lr_images: float = option(0.1, "learning rate of the pixels", stages=SYNTHESIS, gt=0)
    momentum: float = option(0.5, "momentum of the pixels", stages=SYNTHESIS, ge=0, lt=1)
    batch_real: int = option(
        256,
        "real images of each class in a step; all of them if a class has fewer",
        stages=SYNTHESIS,
        ge=1,
    )

    # the network that gradients are matched in
    outer_loop: int = option(
        0,
        "steps of the pixels with one network, which is trained in between; 0: as published for "
        "this number of images per class. Distributions have a new network in each step, unless "
        "it is trained on real data",
        stages=SYNTHESIS,
        ge=0,
    )
    inner_epochs: int = option(
        0,
        "epochs that this network is trained on the images after each step; 0: as published",
        stages=SYNTHESIS,
        ge=0,
    )
    lr_network: float = option(0.01, "learning rate of this network", stages=SYNTHESIS, gt=0)
    batch_network: int = option(256, "batch size of its training", stages=SYNTHESIS, ge=1)

    @property
    def own_protocol(self) -> tuple[str, Mapping[str, Any]] | None:
        """How the authors evaluate.

        DC's code trains for 300 epochs without augmentation, NCFM's and IDC's with CutMix; all
        others as DSA's.
        """
        asked = {"epochs": self.evaluation_epochs, "batch_size": self.evaluation_batch}
        said = {name: value for name, value in asked.items() if value}
        if self.match == "characteristic":
            return "cutmix", NCFM_RECIPE | said
        if self.match == "gradient" and self.distance != "cosine":
            return "cutmix", {"cutmix": self.network_cutmix} | said
        if self.augmentation == "none":
            return "plain", {"epochs": DC_EPOCHS} | said
        return ("dsa", said) if said else None

    @property
    def real_per_class(self) -> int:
        return self.batch_real

    def for_ipc(self, ipc: int) -> Self:
        """Return the options with published numbers in place of zeros.

        Between the IPCs of the released code, the loops are those of the next smaller one.
        """
        outer, inner = LOOPS[max(known for known in LOOPS if known <= ipc)]
        outer, inner = self.outer_loop or outer, self.inner_epochs or inner
        untrained = self.match != "gradient" and self.train_on == "synthetic"
        if untrained or self.networks in ("queue", "pairs"):
            outer = inner = 1
        networks = GRADIENT_NETWORKS if self.match == "gradient" else DISTRIBUTION_NETWORKS
        changes = {
            "outer_loop": outer,
            "inner_epochs": inner,
            "updates": self.updates or networks * outer,
        }
        return self.model_copy(update=changes)

    def rehearsed(self) -> Mapping[str, Any]:
        return {"members": 1, "train_epochs": 2, "together": 1}

    def work(self, stage: StageName, per_epoch: int) -> float:
        if stage == "pool" and self.has_pool:
            return self.members * self.train_epochs * per_epoch
        return 1.0

    def volume(self, stage: StageName) -> float:
        return float(self.members) if stage == "pool" else 1.0

    @model_validator(mode="after")
    def _fits_together(self) -> "MatchingOptions":
        if self.class_weight and (self.networks != "queue" or self.match == "gradient"):
            raise ValueError(
                "class_weight counts by the training accuracy of networks in a queue, beside "
                "features: it needs networks=queue and match=distribution or characteristic"
            )
        if self.calibration and self.networks != "pairs":
            raise ValueError("calibration needs trained networks: networks=pairs")
        if self.train_on == "real" and self.networks in ("queue", "pairs"):
            raise ValueError(f"networks={self.networks} knows no train_on=real: leave it out")
        return self

"""The options of matching: the papers', with the numbers of the released code."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from ddkit import MethodOptions, StageName, option

SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""Outer and inner loop by images per class, as the released code of DC has them."""
GRADIENT_NETWORKS = 1000
DISTRIBUTION_NETWORKS = 20_000
DC_EPOCHS = 300  # of an evaluation in DC's released code


class MatchingOptions(MethodOptions):
    """Zeros stand for published numbers, which follow from what is matched and from the IPC."""

    steps_option: ClassVar[str | None] = "updates"
    shorter: ClassVar[tuple[tuple[str, int], ...]] = (("updates", 20),)
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "synthesis": ("batch_real", "batch_network")
    }

    match: Literal["gradient", "distribution"] = option(
        "gradient",
        "gradient: gradients of real and synthetic images of a class (DC, DSA); distribution: "
        "their mean features in untrained networks (DM)",
        stages=SYNTHESIS,
    )
    augmentation: Literal["none", "dsa"] = option(
        "none",
        "dsa: differentiable siamese augmentation, the same for real and synthetic images of a "
        "class",
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
        "this number of images per class. Distributions have a new network in each step",
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
        """DC's code trains for 300 epochs without augmentation; with it, all do as DSA's."""
        return ("plain", {"epochs": DC_EPOCHS}) if self.augmentation == "none" else None

    @property
    def real_per_class(self) -> int:
        return self.batch_real

    def for_ipc(self, ipc: int) -> Self:
        """Return the options with published numbers in place of zeros.

        Between the IPCs of the released code, the loops are those of the next smaller one.
        """
        outer, inner = LOOPS[max(known for known in LOOPS if known <= ipc)]
        outer, inner = self.outer_loop or outer, self.inner_epochs or inner
        if self.match == "distribution":
            outer = inner = 1
        networks = GRADIENT_NETWORKS if self.match == "gradient" else DISTRIBUTION_NETWORKS
        changes = {
            "outer_loop": outer,
            "inner_epochs": inner,
            "updates": self.updates or networks * outer,
        }
        return self.model_copy(update=changes)

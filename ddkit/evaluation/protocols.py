"""Evaluation protocols by name: how a network is trained on a distilled set before it is tested."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ddkit.data.loading.batching import batch_count
from ddkit.runtime.registry import Registry
from ddkit.runtime.settings import Strict, validated
from ddkit.training.recipe import Recipe

if TYPE_CHECKING:
    from ddkit.distilled.dataset import DistilledDataset

PROTOCOLS = Registry(
    "protocol",
    "ddkit.protocols",
    {
        "cutmix": "ddkit.evaluation.protocols:CUTMIX",
        "dsa": "ddkit.evaluation.protocols:DSA",
        "dsa-soft": "ddkit.evaluation.protocols:DSA_SOFT",
        "plain": "ddkit.evaluation.protocols:PLAIN",
        "l1": "ddkit.evaluation.protocols:L1",
        "regression": "ddkit.evaluation.protocols:REGRESSION",
        "soft": "ddkit.evaluation.protocols:SOFT",
        "soft-aligned": "ddkit.evaluation.protocols:SOFT_ALIGNED",
    },
    hint="see `ddkit evaluate --help`",
)


class Protocol(Strict):
    """A recipe, and what is trained towards.

    Attributes:
        name: what tables call it.
        labels: "hard" trains towards the class of each image, "own" towards the set's own logits,
            "targets" towards its own regression targets, or those of its classes.
        loss: "labels" is the loss of the labels' kind, "l1" the mean absolute difference of logits.
        recipe: optimiser, learning rate, schedule, epochs.
        augmentation: "dsa" on every batch, "dsa-layered" as IDC's code has it, "mirror" trains on
            each image and its mirror image, or "none" (the set's own labels bring their own).
        real_epochs: epochs on all real data, which has many more steps in each.
    """

    name: str
    labels: Literal["hard", "own", "targets"]
    recipe: Recipe
    loss: Literal["labels", "l1"] = "labels"
    augmentation: Literal["dsa", "dsa-layered", "mirror", "none"] = "none"
    real_epochs: int = Field(30, ge=1)

    @model_validator(mode="after")
    def _mixes_classes_alone(self) -> "Protocol":
        if self.recipe.cutmix and self.labels != "hard":
            raise ValueError("cutmix mixes classes: labels must be hard")
        return self

    @model_validator(mode="after")
    def _has_temperatures(self) -> "Protocol":
        if self.temperatures_change and (self.labels != "own" or self.loss != "labels"):
            raise ValueError("cooling and calibrated are for soft labels and their loss")
        return self

    @property
    def temperatures_change(self) -> bool:
        """Whether soft labels are not trained towards at their own temperature throughout."""
        return self.recipe.cooling < 1 or self.recipe.calibrated

    def with_recipe(self, **changes: Any) -> "Protocol":
        """Return this protocol with some fields of its recipe changed; epochs replace steps."""
        if "epochs" in changes:
            changes = {"steps": (), **changes}
        where = f"protocol '{self.name}'"
        recipe = validated(Recipe, {**self.recipe.model_dump(), **changes}, where)
        return validated(Protocol, {**dict(self), "recipe": recipe}, where)

    def for_set(self, distilled: "DistilledDataset") -> "Protocol":
        """Return this protocol with as many epochs as take the steps for a set of that size."""
        images, recipe = len(distilled), self.recipe
        steps = batch_count(self.copies(distilled) * images, recipe.batch_size)
        return self.model_copy(update={"recipe": recipe.for_set(images, steps)})

    def copies(self, distilled: "DistilledDataset") -> int:
        """Return 2 where a set is trained on with its mirror images, if they keep their classes."""
        return 2 if self.augmentation == "mirror" and distilled.metadata["mirror"] else 1


DSA = Protocol(  # the trajectory-matching line's: DSA on, ×0.1 at half (MTT, released code)
    name="dsa",
    labels="hard",
    recipe=Recipe(
        epochs=1000,
        batch_size=256,
        optimiser="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="half",
    ),
    augmentation="dsa",
)

PLAIN = DSA.model_copy(update={"name": "plain", "augmentation": "none"})

CUTMIX = Protocol(  # IDC, released code
    name="cutmix",
    labels="hard",
    recipe=DSA.recipe.model_copy(
        update={"batch_size": 64, "schedule": "drop:0.2:2/3:5/6", "cutmix": 0.5}
    ),
    augmentation="dsa-layered",
)

DSA_SOFT = DSA.model_copy(update={"name": "dsa-soft", "labels": "own"})  # as TESLA's released code

# no DSA: the logits are those of the images as they are
L1 = Protocol(  # APM, Algorithm 1 and appendix A.7, with its rate for CIFAR-10
    name="l1", labels="own", loss="l1", recipe=DSA.recipe.model_copy(update={"lr": 0.02})
)

SOFT = Protocol(  # Teddy, appendix D.3; its 300 epochs are for sets of many steps per epoch
    name="soft",
    labels="own",
    recipe=Recipe(
        epochs=300,
        batch_size=256,
        optimiser="adamw",
        lr=1e-3,
        momentum=0.9,
        weight_decay=0.01,
        schedule="cosine",
    ),
)

SOFT_ALIGNED = SOFT.model_copy(  # LPQLD, released code: 0.7 every 30 of 300 epochs
    update={
        "name": "soft-aligned",
        "recipe": SOFT.recipe.model_copy(update={"cooling": 0.7, "calibrated": True}),
    }
)

# FRePo's evaluation without its augmentation; steps by the size of its sets. RCIG's rate
REGRESSION = Protocol(  # 3e-4 in FRePo; RCIG takes 2000 steps from 100 images on
    name="regression",
    labels="targets",
    recipe=Recipe(
        steps=((10, 1000), (100, 2000), (200, 20000), (400, 5000), (1000, 10000), (2000, 40000)),
        batch_size=256,
        optimiser="adam",
        lr=1e-4,
        momentum=0.9,
        weight_decay=0,
        schedule="cosine",
        warmup=500,
        floor=0.01,
    ),
    augmentation="mirror",
)

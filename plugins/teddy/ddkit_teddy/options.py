"""The options of Teddy: what the paper sets, and what its text leaves open."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ddkit import SCHEDULE, Augmentation, StageName, option
from ddkit_teddy.options_of_committee import CommitteeOptions
from ddkit_teddy.options_of_layers import LayerOptions
from ddkit_teddy.options_of_phases import PhaseOptions
from ddkit_teddy.options_of_post import PostOptions

POOL: tuple[StageName, ...] = ("pool",)
SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
RELABEL: tuple[StageName, ...] = ("relabel",)


class TeddyOptions(PostOptions, CommitteeOptions, PhaseOptions, LayerOptions):
    """Defaults follow Teddy, appendix D; each one that departs says why."""

    later: ClassVar[frozenset[str]] = frozenset(
        {
            *CommitteeOptions.model_fields,
            *PhaseOptions.model_fields,
            *LayerOptions.model_fields,
        }
    )

    default_network: ClassVar[str | None] = "convnet:norm=batch"  # Eq. 7 needs batch norm

    makes_own_shards: ClassVar[bool] = True
    keeps_budget: ClassVar[bool] = True
    batch_option: ClassVar[str | None] = "batch_size"
    steps_option: ClassVar[str | None] = "iterations"
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "pool": ("train_batch",),
        "synthesis": ("batch_size",),
        "relabel": ("label_members",),
    }
    shorter: ClassVar[tuple[tuple[str, int], ...]] = (
        ("members", 4),
        ("last", 20),
        ("iterations", 1000),
        ("label_epochs", 100),
        ("last", 8),
        ("iterations", 200),
        ("label_epochs", 20),
        ("members", 1),
        ("last", 2),
        ("iterations", 20),
    )
    provides: ClassVar[tuple[str, ...]] = ("teacher", "pruned")
    needs: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "synthesis": ("teacher", "pruned"),
        "relabel": ("teacher", "pruned"),
    }

    pool: Literal["prior", "post", "committee"] = option(
        "prior",
        "prior: snapshots of one trajectory; post: pruned copies of a trained model; committee: "
        "several networks, each as training leaves it at `last`",
        stages=POOL,
    )
    # the training of the trajectory, or of the base model (Table 6)
    unit: Literal["epoch", "step"] = option(
        "epoch",
        "what first, last and every count; steps suit data that is learned in few epochs",
        stages=POOL,
    )
    first: int = option(
        1, "T_b, where the snapshots begin (0: the untrained network)", stages=POOL, ge=0
    )
    last: int = option(41, "T_e, where the snapshots end", stages=POOL, ge=0)
    every: int = option(5, "m, distance between snapshots", stages=POOL, ge=1)
    train_epochs: int = option(
        0, "epochs of the learning rate schedule; 0: as many as `last` needs", stages=POOL, ge=0
    )
    train_lr: float = option(0.1, "learning rate of the trajectory", stages=POOL, gt=0)
    train_momentum: float = option(0.9, "momentum of the trajectory", stages=POOL, ge=0, lt=1)
    train_decay: float = option(1e-4, "weight decay of the trajectory", stages=POOL, ge=0)
    train_batch: int = option(256, "batch size of the trajectory", stages=POOL, ge=1)
    train_schedule: str = option(
        "step:30",
        "constant, cosine, half, or step:N (×0.1 every N epochs)",
        stages=POOL,
        pattern=SCHEDULE,
    )
    train_augmentation: Augmentation = option(
        "crop-flip",
        "augmentation of real images; data that mirroring spoils are never flipped",
        stages=POOL,
    )
    recalibrate: int = option(
        10_000,
        "training images for measuring a member's running statistics again; 0 keeps those of "
        "training, an average that lags behind the weights (at step 4, 66 % of it is still the "
        "initial 0 and 1, and both the member and what it matches are wrong)",
        stages=POOL,
        ge=0,
    )
    # what is matched (Eq. 7)
    statistics: Literal["running", "exact", "classwise"] = option(
        "running",
        "running: those of the batch norms, as in Eq. 7; exact: measured over the training data "
        "with the member's own weights, as in Eq. 5; classwise: exact per class, for imbalanced "
        "data (C.1)",
        stages=("pool", "synthesis"),
    )
    variance: Literal["unbiased", "biased"] = option(
        "unbiased",
        "which variance of the batch is compared; torch's running one is unbiased",
        stages=SYNTHESIS,
    )
    bn_weight: float = option(1.0, "weight of the statistics (Table 7)", stages=SYNTHESIS, ge=0)
    ce_weight: float = option(
        1.0, "weight of the cross-entropy, u in Eq. 7", stages=SYNTHESIS, ge=0
    )
    first_bn: float = option(
        1.0, "factor on the first batch norm's term (SRe2L: 10)", stages=SYNTHESIS, ge=0
    )
    teachers: int = option(3, "n, members drawn to match", stages=SYNTHESIS, ge=1)
    draw: Literal["step", "index", "turn"] = option(
        "step",
        "when members are drawn: at each step (Algorithm 1), for each image index (section 4.1.2), "
        "or in turn, the next ones at each step (FADRM)",
        stages=SYNTHESIS,
    )
    # the optimisation of the images (Table 7)
    iterations: int = option(4000, "steps per batch of images", stages=SYNTHESIS, ge=0)
    batch_size: int = option(
        100, "images optimised together, classes balanced", stages=SYNTHESIS, ge=1
    )
    lr: float = option(
        0.1, "Adam's learning rate on pixels, in network space", stages=SYNTHESIS, gt=0
    )
    betas: tuple[float, float] = option((0.5, 0.9), "Adam's momenta", stages=SYNTHESIS)
    image_decay: float = option(
        0.0,
        "weight decay on pixels, a part of the gradient for Adam: Table 7's 1e-4 is as large as "
        "the loss's in a small network, whose images fade to the mean colour",
        stages=SYNTHESIS,
        ge=0,
    )
    schedule: Literal["constant", "cosine"] = option(
        "cosine", "schedule of the learning rate", stages=SYNTHESIS
    )
    segment: int = option(
        0,
        "images at a time in a step, one member after the other, at the cost of one more forward "
        "pass; 0: the batch, or what fits --memory-budget",
        stages=SYNTHESIS,
        ge=0,
    )
    clip: bool = option(True, "keep pixels in the valid range after each step", stages=SYNTHESIS)
    augmentation: Literal["none", "flip", "rrc", "rrc-flip", "dsa"] = option(
        "none",
        "augmentation of synthetic images while they are optimised, drawn per image",
        stages=SYNTHESIS,
    )
    # labels
    labels: Literal["epoch", "image", "hard"] = option(
        "epoch",
        "soft labels for a new augmentation in each epoch, one per image, or none",
        stages=RELABEL,
    )
    label_epochs: int = option(300, "epochs that labels are made for", stages=RELABEL, ge=1)
    label_members: int = option(
        0, "members that label, spread over the pool; 0: all", stages=RELABEL, ge=0
    )
    average: Literal["logits", "probabilities"] = option(
        "logits", "what is averaged over the members; Algorithm 1 averages outputs", stages=RELABEL
    )
    temperature: float = option(
        20.0,
        "temperature of the distillation loss (SRe2L's; Teddy names none)",
        stages=RELABEL,
        gt=0,
    )
    mix: Literal["cutmix", "mixup", "none"] = option(
        "cutmix", "mixing of labelled images", stages=RELABEL
    )
    crop_scale: float = option(
        0.08, "smallest share of an image in a crop", stages=RELABEL, gt=0, le=1
    )

    @property
    def labels_epochs(self) -> bool:
        alone = self.label_statistics == "running" and self.weights != "holdout"
        return self.labels == "epoch" and alone  # a recipe knows no batches, nor weights

    @property
    def member_networks(self) -> Sequence[str]:
        return self.committee

    @property
    def looks_at_classes(self) -> bool:
        return self.statistics == "classwise"

    def lowered(self, name: str, value: int) -> Mapping[str, Any]:
        if name != "last":
            return {name: value}
        every = max(1, self.every * value // self.last)  # about as many snapshots as before
        epochs = min(self.train_epochs, value) if self.unit == "epoch" else self.train_epochs
        return {
            "last": value,
            "first": min(self.first, value),
            "every": every,
            "train_epochs": epochs,
        }

    def rehearsed(self) -> Mapping[str, Any]:
        members = min(self.teachers, self.pool_members())  # as many as a step draws
        small: dict[str, Any] = {
            "unit": "step",
            "first": 8,
            "last": 7 + members,
            "every": 1,
            "train_epochs": 0,
            "label_epochs": 2,
            "finetune_epochs": 0.0,
            "recalibrate": 0,  # once per member: scaled as steps are, it would be all
            "choose": "random",
            "phases": 1,
            "sizes": "",  # that of the data is the largest
        }
        small["weights"] = "equal"  # made-up images have no holdout
        if self.pool == "committee":
            few = {"first": 2, "last": 2}  # of each: there are several, and large ones
            return small | few | {"networks": list(self.committee), "bases": []}
        return small | ({"members": members} if self.pool == "post" else {})

    def work(self, stage: StageName, per_epoch: int) -> float:
        if stage == "relabel":
            members = self.pool_members()
            return self.volume("relabel") * min(self.label_members or members, members)
        steps = self.last * (per_epoch if self.unit == "epoch" else 1)
        if self.pool == "prior":
            return steps
        if self.pool == "committee":
            return steps * (self.pool_members() - len(self.bases))
        share = self.finetune_batch / self.train_batch  # of the work of a step
        batches = per_epoch * self.train_batch / self.finetune_batch
        return steps + self.members * self.finetune_epochs / 2 * batches * share

    def volume(self, stage: StageName) -> float:
        if stage == "relabel":
            return self.label_epochs if self.labels == "epoch" else 1.0
        if self.pool != "post":
            return self.pool_members()
        left = self.prune_to_parameters or self.prune_to_macs or (1 - self.prune_ratio) ** 2
        return 1 + self.members * left  # in models that are not pruned: the base is one

    def pool_members(self) -> int:
        """Return how many members the pool has beside a base model."""
        if self.pool == "post":
            return self.members
        if self.pool == "committee":
            return max(1, len(self.committee))
        return len(range(self.first, self.last + 1, self.every))

    @model_validator(mode="after")
    def _ordered(self) -> "TeddyOptions":
        if self.last < self.first:
            raise ValueError(f"last ({self.last}) must not be below first ({self.first})")
        if self.base is not None and self.pool != "post":
            raise ValueError("base is for pool=post; a prior pool is trained from the start")
        if self.layers != "norms" and self.statistics == "running":
            raise ValueError(
                "convolutions have no running statistics: layers=norms+convolutions needs "
                "statistics=exact or classwise"
            )
        if self.class_share < 1 and self.statistics != "classwise":
            raise ValueError("class_share is for statistics=classwise: others have no classes")
        if self.label_statistics == "batch" and self.labels == "image":
            raise ValueError("label_statistics=batch is for labels=epoch")
        if self.committee and self.pool != "committee":
            raise ValueError("networks and bases are for pool=committee")
        if self.prune_to_parameters is not None and self.prune_to_macs is not None:
            raise ValueError("set prune_to_parameters or prune_to_macs, not both")
        return self

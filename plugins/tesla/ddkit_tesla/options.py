"""The options of TESLA: MTT's where the paper's appendix A.12, which has its own, is not public."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ddkit import StageName, TrainingOptions, option

POOL: tuple[StageName, ...] = ("pool",)
SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
LABELS: tuple[StageName, ...] = ("synthesis", "relabel")
RELABEL: tuple[StageName, ...] = ("relabel",)


class TeslaOptions(
    TrainingOptions, train_epochs=50, train_momentum=0.0, train_decay=0.0, train_schedule="constant"
):
    """Defaults follow the papers; each one that departs says why."""

    keeps_budget: ClassVar[bool] = True
    batch_option: ClassVar[str | None] = "batch_syn"
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "pool": ("train_batch",),
        "synthesis": ("batch_syn",),
    }
    steps_option: ClassVar[str | None] = "iterations"
    kept_option: ClassVar[str | None] = "kept_graphs"
    shorter: ClassVar[tuple[tuple[str, int], ...]] = (
        ("experts", 10),
        ("iterations", 1000),
        ("train_epochs", 20),
        ("experts", 3),
        ("iterations", 200),
        ("train_epochs", 5),
        ("experts", 1),
        ("iterations", 20),
    )
    provides: ClassVar[tuple[str, ...]] = ("expert",)
    needs: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "synthesis": ("expert",),
        "relabel": ("expert",),
    }

    # the experts (MTT, section 4 and released code)
    experts: int = option(100, "N, number of trajectories", stages=POOL, ge=1)
    expert_dtype: Literal["float32", "bfloat16"] = option(
        "float32", "how snapshots are stored; bfloat16 takes half the disk", stages=POOL
    )
    together: int = option(
        10,
        "experts trained as one batched network if that is measured to be 1.3 times as fast, as "
        "on a GPU; 1: never, so that nothing depends on timing",
        stages=POOL,
        ge=1,
    )

    # the matching
    gradient: Literal["exact", "paper"] = option(
        "exact",
        "exact: the whole gradient of Eq. 1; paper: Eq. 5, which holds the gradients of all other "
        "steps constant and is not exact for more than one step",
        stages=SYNTHESIS,
    )
    student_steps: int = option(30, "T, steps of the student", stages=SYNTHESIS, ge=1)
    expert_epochs: int = option(2, "M, epochs of the expert to match", stages=LABELS, ge=1)
    max_start_epoch: int = option(
        20, "students start at an expert's epoch below this one", stages=LABELS, ge=1
    )
    iterations: int = option(10_000, "matchings (paper, Algorithm 1: K)", stages=SYNTHESIS, ge=0)
    batch_syn: int = option(
        0, "synthetic images per student step; 0: all of them", stages=SYNTHESIS, ge=0
    )
    augmentation: Literal["dsa", "none"] = option(
        "dsa", "augmentation of the synthetic images that students see", stages=SYNTHESIS
    )
    lr_images: float = option(1000.0, "learning rate of the pixels", stages=SYNTHESIS, gt=0)
    lr_student: float = option(
        0.01, "initial β, the learning rate of the student", stages=SYNTHESIS, gt=0
    )
    lr_lr: float = option(1e-5, "learning rate of β; 0 keeps β fixed", stages=SYNTHESIS, ge=0)
    lr_student_min: float = option(
        1e-4, "β is kept at or above this (not published)", stages=SYNTHESIS, gt=0
    )
    lr_student_max: float = option(
        10.0, "a β that reaches this has diverged: the run is stopped", stages=SYNTHESIS, gt=0
    )
    momentum: float = option(
        0.5, "momentum of the optimisers of pixels, β and labels", stages=SYNTHESIS, ge=0, lt=1
    )

    # memory for time
    micro_batch: int = option(
        0,
        "synthetic images per graph, if the batch is too large; 0: the batch, or what fits "
        "--memory-budget",
        stages=SYNTHESIS,
        ge=0,
    )
    snapshots: Literal["device", "host"] = option(
        "device", "where the T students of an iteration are kept", stages=SYNTHESIS
    )
    snapshot_every: int = option(
        1, "keep every k-th student and repeat the steps in between; 0: √T", stages=SYNTHESIS, ge=0
    )
    kept_graphs: Literal["auto"] | int = option(
        "auto",
        "number of last student steps whose graphs are kept instead of made again; auto: as many "
        "as --memory-budget, or a share of the free memory, has room for",
        stages=SYNTHESIS,
    )

    # soft labels (sections 3.4 and 4.4)
    labels: Literal["target", "last", "learned", "hard"] = option(
        "target",
        "target: predictions of the expert's θ_{t+M}, again at each iteration; last: those of "
        "its last epoch; learned: logits that are optimised too; hard: the classes",
        stages=LABELS,
    )
    lr_labels: float = option(
        10.0, "learning rate of learned labels (not published)", stages=SYNTHESIS, gt=0
    )
    label_confidence: float = option(
        0.99,
        "initial probability of the class in learned labels, which are close to one-hot in the "
        "paper",
        stages=SYNTHESIS,
        gt=0,
        lt=1,
    )
    teacher_epoch: int = option(
        -1,
        "epoch of the experts that label the final images; -1: the last target epoch, or with "
        "labels=last the last epoch",
        stages=RELABEL,
        ge=-1,
    )
    teachers: int = option(
        0, "experts whose logits are averaged for those labels; 0: all", stages=RELABEL, ge=0
    )

    @property
    def inner_loop(self) -> tuple[str, int] | None:
        return ("student_steps", 2) if self.snapshot_every == 1 else None  # √T is no line

    def lowered(self, name: str, value: int) -> Mapping[str, Any]:
        if name != "train_epochs":
            return {name: value}
        expert_epochs = min(self.expert_epochs, value)
        start = self.max_start_epoch * value // self.train_epochs  # the same part of a trajectory
        return {
            name: value,
            "expert_epochs": expert_epochs,
            "max_start_epoch": max(1, min(start, value - expert_epochs + 1)),
            "teacher_epoch": min(self.teacher_epoch, value),
        }

    def rehearsed(self) -> Mapping[str, Any]:
        short = {"train_epochs": 2, "max_start_epoch": 1, "expert_epochs": 1, "teacher_epoch": -1}
        return {"experts": 1, "teachers": 1, "together": 1, **short}

    def work(self, stage: StageName, per_epoch: int) -> float:
        if stage == "pool":
            return self.experts * self.train_epochs * per_epoch
        return min(self.teachers or self.experts, self.experts)

    def volume(self, stage: StageName) -> float:
        return self.experts * (self.train_epochs + 1) if stage == "pool" else 1.0

    @model_validator(mode="after")
    def _check_ranges(self) -> "TeslaOptions":
        if self.lr_student_min > self.lr_student or self.lr_student >= self.lr_student_max:
            raise ValueError(
                f"lr_student must lie between lr_student_min and lr_student_max "
                f"(got {self.lr_student:g}, {self.lr_student_min:g} and {self.lr_student_max:g})"
            )
        if self.kept_graphs != "auto" and self.kept_graphs < 0:
            raise ValueError(f"kept_graphs must be auto, or 0 or more (got {self.kept_graphs})")
        return self

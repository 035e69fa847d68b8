"""The options of TESLA: MTT's where the paper's appendix A.12, which has its own, is not public.

Those of FTD and DATM came later, and change nothing at their defaults.
"""

from collections.abc import Mapping
from math import inf
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ddkit import Recipe, StageName, TrainingOptions, option

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
    later: ClassVar[frozenset[str]] = frozenset(
        {"train_sharpness", "train_surrogate", "average", "min_start_epoch", "window"}
        | {"window_steps", "skip_above", "momentum_labels", "label_start", "choose"}
    )

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
    train_sharpness: float = option(
        0.0,
        "ρ of FTD's flat experts: each step takes the slope at the sharpest point within ρ (GSAM), "
        "which doubles the time of the pool; 0: plain SGD",
        stages=POOL,
        ge=0,
    )
    train_surrogate: float = option(
        0.0,
        "α of FTD's flat experts, by how much the gap to the sharpest point counts",
        stages=POOL,
        ge=0,
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
    min_start_epoch: int = option(
        0, "students start at an expert's epoch from this one on (DATM)", stages=SYNTHESIS, ge=0
    )
    window: int = option(
        0,
        "start epochs are below this one at first, and below max_start_epoch after window_steps "
        "iterations (DATM); 0: below that from the beginning",
        stages=SYNTHESIS,
        ge=0,
    )
    window_steps: int = option(
        0, "iterations in which the window of start epochs grows", stages=SYNTHESIS, ge=0
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

    average: float = option(
        0.0,
        "d of the moving average of the images, d·e + (1 − d)·x after each iteration, which is the "
        "set in their place (FTD); 0: none",
        stages=SYNTHESIS,
        ge=0,
        lt=1,
    )
    skip_above: float = option(
        inf,
        "an iteration whose loss is above this changes nothing (DATM)",
        stages=SYNTHESIS,
        gt=0,
    )
    choose: Literal["random", "correct"] = option(
        "random",
        "which real images are the initial ones; correct: random ones that the first expert "
        "classifies right at its last epoch, then those that the next ones do (DATM)",
        stages=SYNTHESIS,
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
    label_start: Literal["confidence", "experts"] = option(
        "confidence",
        "where learned labels start; confidence: at the class, with label_confidence; experts: at "
        "the mean logits, at the last epoch, of the experts that classify the image right, or of "
        "all where none does (DATM)",
        stages=LABELS,
    )
    momentum_labels: float | None = option(
        None,
        "momentum of learned labels (DATM); none given: that of the pixels",
        stages=SYNTHESIS,
        ge=0,
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
        0,
        "experts whose logits are averaged for those labels, or for label_start; 0: all",
        stages=LABELS,
        ge=0,
    )

    @property
    def recipe(self) -> Recipe:
        flat = {"sharpness": self.train_sharpness, "surrogate": self.train_surrogate}
        return super().recipe.model_copy(update=flat)

    @property
    def own_protocol(self) -> tuple[str, Mapping[str, Any]] | None:
        """DATM's authors evaluate with batches of 128; others as their kind of labels says."""
        return ("dsa-soft", {"batch_size": 128}) if self.label_start == "experts" else None

    @property
    def inner_loop(self) -> tuple[str, int] | None:
        return ("student_steps", 2) if self.snapshot_every == 1 else None  # √T is no line

    def last_start(self, step: int) -> int:
        """Return the last epoch that a student of an iteration may start from."""
        if step >= self.window_steps:
            return self.max_start_epoch - 1
        grown = (self.max_start_epoch - self.window) * step // self.window_steps
        return self.window + grown - 1

    def lowered(self, name: str, value: int) -> Mapping[str, Any]:
        if name == "iterations":
            less = self.iterations / value  # the same part of a run, and the same weight of its end
            steps, average = max(1, round(self.window_steps / less)), self.average**less
            return {
                name: value,
                **({"window_steps": steps} if self.window_steps else {}),
                **({"average": round(average, 6)} if self.average else {}),
            }
        if name != "train_epochs":
            return {name: value}
        expert_epochs = min(self.expert_epochs, value)
        starts = (self.min_start_epoch, self.window, self.max_start_epoch)
        least, window, most = (epoch * value // self.train_epochs for epoch in starts)
        most = max(1, min(most, value - expert_epochs + 1))  # the same part of a trajectory
        least = min(least, most - 1)
        window = max(least + 1, min(window, most))
        return {
            name: value,
            "expert_epochs": expert_epochs,
            "max_start_epoch": most,
            "teacher_epoch": min(self.teacher_epoch, value),
            **({"min_start_epoch": least} if self.min_start_epoch else {}),
            **({"window": window} if self.window else {}),
        }

    def rehearsed(self) -> Mapping[str, Any]:
        short = {"train_epochs": 2, "max_start_epoch": 1, "expert_epochs": 1, "teacher_epoch": -1}
        whole = {"min_start_epoch": 0, "window": 0, "window_steps": 0, "skip_above": inf}
        return {"experts": 1, "teachers": 1, "together": 1, **short, **whole}

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
        first, last = self.window or self.max_start_epoch, self.max_start_epoch
        if not self.min_start_epoch < first <= last:
            raise ValueError(
                f"start epochs must be min_start_epoch < window <= max_start_epoch (got "
                f"{self.min_start_epoch}, {self.window or 'none'} and {last})"
            )
        if bool(self.window) != bool(self.window_steps):
            raise ValueError(
                f"window and window_steps belong together (got {self.window} and "
                f"{self.window_steps}): the window grows from one bound in so many iterations"
            )
        if self.kept_graphs != "auto" and self.kept_graphs < 0:
            raise ValueError(f"kept_graphs must be auto, or 0 or more (got {self.kept_graphs})")
        return self

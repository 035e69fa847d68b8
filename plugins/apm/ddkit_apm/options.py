"""The options of APM: the paper's, and what the released code does otherwise."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ddkit import Recipe, StageName, TrainingOptions, option
from ddkit_apm.matching import checkpoint_epochs

POOL: tuple[StageName, ...] = ("pool",)
SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
RELABEL: tuple[StageName, ...] = ("relabel",)
STUDENTS: tuple[StageName, ...] = ("synthesis", "evaluate")


class ApmOptions(TrainingOptions, train_epochs=100, train_lr=0.05):
    """Defaults follow the paper and its appendix A.7; each one that departs says why."""

    keeps_budget: ClassVar[bool] = True
    batch_option: ClassVar[str | None] = "batch_syn"
    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "pool": ("train_batch",),
        "synthesis": ("batch_syn",),
    }
    steps_option: ClassVar[str | None] = "rounds"
    shorter: ClassVar[tuple[tuple[str, int], ...]] = (
        ("teachers", 10),
        ("rounds", 500),
        ("train_epochs", 30),
        ("teachers", 3),
        ("rounds", 50),
        ("train_epochs", 8),
        ("teachers", 1),
        ("rounds", 5),
    )
    provides: ClassVar[tuple[str, ...]] = ("teacher",)
    needs: ClassVar[Mapping[StageName, tuple[str, ...]]] = {
        "synthesis": ("teacher",),
        "relabel": ("teacher",),
    }

    # the teachers
    teachers: int = option(
        100,
        "number of converged teachers; 10 are nearly as good (paper, Fig. 5a)",
        stages=POOL,
        ge=1,
    )
    together: int = option(
        10,
        "teachers trained as one batched network if that is measured to be 1.3 times as fast, as "
        "on a GPU; 1: never, so that nothing depends on timing",
        stages=POOL,
        ge=1,
    )

    # Algorithm 1
    rounds: int = option(2500, "R", stages=SYNTHESIS, ge=0)
    student_epochs: int = option(250, "E, epochs of each round's student", stages=SYNTHESIS, ge=1)
    checkpoints: int = option(
        5, "K, checkpoints of the student that images are moved against", stages=SYNTHESIS, ge=1
    )
    batch_syn: int = option(
        0, "B, synthetic images of a round; 0: all of them", stages=SYNTHESIS, ge=0
    )
    distance: Literal["l1", "l2", "kl", "cosine"] = option(
        "l1", "d, between the logits of teacher and student", stages=SYNTHESIS
    )
    alpha: float = option(0.1, "weight of the cross-entropy in Eq. 4", stages=SYNTHESIS, ge=0)
    lr_images: float = option(1.0, "γ, learning rate of the pixels", stages=SYNTHESIS, gt=0)
    momentum: float = option(0.5, "momentum of the pixels", stages=SYNTHESIS, ge=0, lt=1)
    late_factor: float = option(
        0.3, "factor on this learning rate in the second half of the rounds", stages=SYNTHESIS, gt=0
    )
    lr_student: float = option(0.02, "η, learning rate of the students", stages=STUDENTS, gt=0)
    student_batch: int = option(256, "batch size of the students", stages=STUDENTS, ge=1)
    student_momentum: float = option(0.9, "momentum of the students", stages=STUDENTS, ge=0, lt=1)
    student_decay: float = option(5e-4, "weight decay of the students", stages=STUDENTS, ge=0)

    # what the released code does otherwise
    log: bool = option(True, "the logarithm of Eq. 4; the released code has none", stages=SYNTHESIS)
    student_every: int = option(
        1,
        "train a student every n-th round and use it for n; the released code: 3",
        stages=SYNTHESIS,
        ge=1,
    )
    dense_momentum: bool = option(
        False,
        "whether images that a round did not draw keep moving by their momentum, as in the "
        "released code",
        stages=SYNTHESIS,
    )
    student_augmentation: Literal["none", "dsa"] = option(
        "none",
        "augmentation of the images that students see; the released code has dsa, with the "
        "logits of the unaugmented images",
        stages=SYNTHESIS,
    )

    # memory for time
    segment: int = option(
        0,
        "images at a time in the gradient of Eq. 4; 0: all of a round, or what fits "
        "--memory-budget",
        stages=SYNTHESIS,
        ge=0,
    )

    # labels and evaluation
    labels: Literal["ensemble", "teacher", "hard"] = option(
        "ensemble",
        "logits: averaged over label_teachers, or of one teacher drawn at random, as in the "
        "released code; hard: the classes",
        stages=RELABEL,
    )
    label_teachers: int = option(0, "teachers in the ensemble; 0: all", stages=RELABEL, ge=0)
    evaluation_epochs: int = option(
        1000, "epochs of the method's own recipe", stages=("evaluate",), ge=1
    )

    @property
    def inner_loop(self) -> tuple[str, int]:
        return "student_epochs", self.checkpoints

    @property
    def own_protocol(self) -> tuple[str, Mapping[str, Any]] | None:
        """L1 on logits, as students are trained; classes as labels have none."""
        if self.labels == "hard":
            return None
        return "l1", self.student_recipe(self.evaluation_epochs).model_dump()

    def student_recipe(self, epochs: int) -> Recipe:
        """Return how students are trained: ×0.1 from the middle on."""
        return Recipe(
            epochs=epochs,
            batch_size=self.student_batch,
            optimiser="sgd",
            lr=self.lr_student,
            momentum=self.student_momentum,
            weight_decay=self.student_decay,
            schedule="half",
        )

    def rehearsed(self) -> Mapping[str, Any]:
        return {"teachers": 1, "label_teachers": 1, "train_epochs": 2, "together": 1}

    def work(self, stage: StageName, per_epoch: int) -> float:
        if stage == "pool":
            return self.teachers * self.train_epochs * per_epoch
        if self.labels == "teacher":
            return 1.0
        return min(self.label_teachers or self.teachers, self.teachers)

    def volume(self, stage: StageName) -> float:
        return self.teachers if stage == "pool" else 1.0

    @model_validator(mode="after")
    def _check_checkpoints(self) -> "ApmOptions":
        checkpoint_epochs(self.student_epochs, self.checkpoints)
        return self

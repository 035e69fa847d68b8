"""APM's synthesis: images become where a teacher and students trained on them disagree."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ddkit import (
    DdkitError,
    Diverged,
    ImageObjective,
    Leaf,
    Pool,
    Run,
    Shard,
    derive,
    sent,
    with_gradients,
)
from ddkit_apm.distances import DISTANCES
from ddkit_apm.matching import Logits, prediction_matching
from ddkit_apm.memory import fitting_segment
from ddkit_apm.options import ApmOptions
from ddkit_apm.students import State, as_function, train_student
from ddkit_apm.teachers import members

RUNAWAY = 1e4  # no input is as large as this, in units of standard deviations


class ApmObjective(ImageObjective):
    """Algorithm 1: each step is a round of a teacher, a fresh student and a mini-batch."""

    advice = "lower the learning rates (--set lr_images=…, --set lr_student=…)"
    clip = False

    def __init__(self, run: Run, pool: Pool):
        super().__init__(run)
        self.options: ApmOptions = run.options
        self.steps = self.options.rounds
        self.pool = pool
        self.teachers = members(pool)
        pool.check_countable(run.config.memory_budget)
        self.skeleton = run.network(run.generator("skeleton")).eval().requires_grad_(False)
        self._teacher = -1
        self._students: list[State] = []

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        self._teacher, self._students = -1, []
        leaf = super().initialise(shard)["images"]
        late = self.options.late_factor
        leaf.limit = RUNAWAY
        leaf.schedule = lambda progress: late if progress >= 0.5 else 1.0
        return {"images": leaf}

    def optimiser(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        options = self.options
        return torch.optim.SGD(parameters, lr=options.lr_images, momentum=options.momentum)

    def draw(self, shard: Shard, step: int) -> Mapping[str, Tensor]:
        """Return the round's mini-batch: all other images rest, on the host."""
        rows = self._rows(shard, step)
        if self.options.dense_momentum or len(rows) == len(shard):
            return {}
        return {"images": rows}

    def loss(self, shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        options = self.options
        images = leaves["images"]
        drawn = self._rows(shard, step)
        classes = sent(shard.classes[drawn], images.device)
        dense = options.dense_momentum and len(drawn) < len(shard)
        rows = sent(drawn, images.device)
        inputs = images.detach()[rows] if dense else images.detach()
        if step % options.student_every == 0:
            self._renew(shard, inputs, step)
        teacher = self.pool.network(self._teacher)
        students = [as_function(self.skeleton, state) for state in self._students]
        value, gradient = prediction_matching(
            inputs,
            classes,
            teacher,
            students,
            DISTANCES[options.distance],
            alpha=options.alpha,
            log=options.log,
            segment=self._segment(teacher, inputs, classes, images.nbytes, students),
        )
        if dense:
            gradient = torch.zeros_like(images).index_copy_(0, rows, gradient)
        return with_gradients(value, {images: gradient})

    def state_dict(self) -> dict[str, Tensor]:
        """Return the students that serve several rounds, and whose they are."""
        if self.options.student_every == 1:
            return {}
        state = {"teacher": torch.tensor(self._teacher)}
        for number, student in enumerate(self._students):
            state |= {f"{number}.{name}": tensor for name, tensor in student.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if not state:
            return
        self._teacher = int(state["teacher"])
        self._students = [
            {
                name: sent(state[f"{number}.{name}"], self.run.device)
                for name in self.skeleton.state_dict()
            }
            for number in range(self.options.checkpoints)
        ]

    def _segment(
        self,
        teacher: nn.Module,
        inputs: Tensor,
        classes: Tensor,
        leaf: int,
        students: Sequence[Logits],
    ) -> int:
        """Return the images at a time: as said, or as the memory budget allows, settled once."""
        if self.run.config.memory_budget is None:
            return self.options.segment
        chosen: int = self.run.settled(
            "segment",
            lambda: fitting_segment(
                self.run, teacher, self.skeleton, inputs, classes, leaf, students
            ),
        )
        return chosen

    def _rows(self, shard: Shard, step: int) -> Tensor:
        """Return the mini-batch of a round, int64, ascending; all rows where B is the whole."""
        size = self.options.batch_syn or len(shard)
        if size >= len(shard):
            return torch.arange(len(shard))
        generator = self.run.generator("mini-batch", shard.index, step)
        return torch.randperm(len(shard), generator=generator)[:size].sort().values

    def _renew(self, shard: Shard, inputs: Tensor, step: int) -> None:
        """Draw a teacher, and train a fresh student on the mini-batch towards its logits."""
        self._students = []  # the old ones make room
        generator = self.run.generator("teacher of a round", shard.index, step)
        pick = int(torch.randint(len(self.teachers), (), generator=generator))
        self._teacher = self.teachers[pick]
        network = self.pool.network(self._teacher)
        with torch.no_grad():
            parts = torch.split(inputs, self.options.student_batch)  # as the budget counts
            logits = torch.cat([network(part) for part in parts])
        student = self.run.network(self.run.generator("student of a round", shard.index, step))
        seed = derive(self.run.config.seed, "student training", shard.index, step)
        try:
            self._students = train_student(self.run, student, inputs, logits, seed)
        except Diverged as error:
            raise DdkitError(
                f"the student of round {step} diverged: lower the learning rate of students, "
                f"which is {self.options.lr_student:g} (--set lr_student=…)"
            ) from error

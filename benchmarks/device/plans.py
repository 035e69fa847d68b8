"""How much of a method's work fits in some seconds: measured on a few steps of each kind."""

from dataclasses import dataclass, replace
from itertools import islice

from benchmarks.device.made_up import pool_of, set_of
from benchmarks.device.timing import seconds_of
from ddkit import pipeline
from ddkit.distilled_training import train_on
from ddkit.evaluation import protocol_for
from ddkit.real_training import RealTraining
from ddkit.run import Run
from ddkit.timing import step_seconds
from ddkit.training import Recipe, accuracy, fit

ROLES = {"teddy": "teacher", "tesla": "expert", "apm": "teacher"}
TRAIN_BATCH = 256
POOL, SYNTHESIS, EVALUATION = 0.25, 0.35, 0.2  # shares of the time; the rest is what is forgotten
PACE_SECONDS = 5.0
TUNED = 5  # trainings that choose a rate for random images, where a method learned one


@dataclass(frozen=True)
class Plan:
    """What a run does; by default the least.

    Attributes:
        method: its name.
        quick: whether the device is; if not, students take fewer steps.
        members: experts, or teachers, of the pool; Teddy's are snapshots of one.
        train_epochs: of each.
        steps: of the synthesis.
        epochs: of each network's training in the evaluation.
    """

    method: str
    quick: bool
    members: int = 1
    train_epochs: int = 3
    steps: int = 1000
    epochs: int = 1

    @property
    def settings(self) -> list[str]:
        """The method's options, as `--set` takes them."""
        trained = f"train_epochs={self.train_epochs}"
        if self.method == "teddy":
            every = max(1, self.train_epochs // 5)
            return [
                trained, "first=1", f"last={self.train_epochs}", f"every={every}",
                "train_schedule=cosine", "recalibrate=1000", f"iterations={self.steps}",
                f"label_epochs={self.epochs}",
            ]  # fmt: skip
        if self.method == "tesla":
            return [
                trained, f"experts={self.members}", f"max_start_epoch={self.train_epochs - 1}",
                "expert_epochs=2", f"student_steps={20 if self.quick else 5}", "labels=hard",
                "lr_images=100", f"iterations={self.steps}",
            ]  # fmt: skip
        if self.method == "apm":
            return [
                trained, f"teachers={self.members}", f"student_epochs={100 if self.quick else 20}",
                "lr_images=5", f"rounds={self.steps}",
            ]  # fmt: skip
        return []

    @property
    def text(self) -> str:
        if self.method not in ROLES:
            return f"{self.epochs} epochs of evaluation"
        pool = f"{self.members} × {self.train_epochs} epochs of pool"
        return f"{pool}, {self.steps} steps, {self.epochs} epochs of evaluation"


@dataclass(frozen=True)
class Paces:
    """Seconds on this device: of an epoch on all real images, a step of the synthesis, an epoch on
    the distilled set, a test of one network."""

    epoch: float
    step: float
    evaluation: float
    test: float


def paces(run: Run, method: str, tested: int) -> Paces:
    """Measure a run of a method's least plan, its synthesis over a pool of untrained networks.

    `tested` is how many images a test has.
    """
    trained, test = evaluation_of(run, tested)
    if method not in ROLES:
        return Paces(0.0, 0.0, trained, test)
    training = RealTraining(run, "pace", 1, Recipe(epochs=9, batch_size=TRAIN_BATCH), (), "dsa")
    steps = fit(
        training.network(0), lambda epoch: training.batches(0, epoch), training.recipe,
        steps_per_epoch=training.per_epoch, seed=0,
    )  # fmt: skip
    epoch = training.per_epoch * step_seconds([steps], run.device)[0]
    pool = pool_of(run, ROLES[method], epochs=range(4))
    return Paces(epoch, pipeline.engine_of(run, pool).pace(4, PACE_SECONDS), trained, test)


def evaluation_of(run: Run, tested: int) -> tuple[float, float]:
    """Return the seconds of an epoch on a set of the run's size, and of a test."""
    distilled = set_of(run)
    network = run.network(run.generator("pace"))
    tests = list(islice(run.resident.ordered(), 3))

    def train(epochs: int) -> float:
        protocol = protocol_for("dsa").with_recipe(epochs=epochs)
        return seconds_of(
            lambda: train_on(distilled, protocol, run.config.network, 0, run.device), run.device
        )

    def test() -> float:
        return seconds_of(lambda: accuracy(network, iter(tests)), run.device)

    _, few, more = train(1), train(1), train(6)
    _, seconds = test(), test()
    share = sum(len(labels) for _, labels in tests) / tested
    return max(more - few, few / 6) / 5, seconds / share


def planned(least: Plan, found: Paces, seconds: float, seeds: int) -> Plan:
    """Return how far a method gets in so many seconds; never less than the least."""
    if least.method not in ROLES:
        left = (1 - POOL) * seconds - seeds * found.test
        return replace(least, epochs=between(10, left / (seeds * found.evaluation), 1000))
    epochs = POOL * seconds / found.epoch
    members = 1 if least.method == "teddy" else between(1, epochs / 10, 10)
    trained = 2 * seeds + (TUNED if least.method == "tesla" else 0)
    left = EVALUATION * seconds - 2 * seeds * found.test
    return replace(
        least,
        members=members,
        train_epochs=between(3, epochs / members, 40),
        steps=between(3, SYNTHESIS * seconds / found.step, 4000),
        epochs=between(10, left / (trained * found.evaluation), 300),
    )


def between(least: int, value: float, most: int) -> int:
    """Return a number as a whole one in a range."""
    return int(min(max(value, least), most))

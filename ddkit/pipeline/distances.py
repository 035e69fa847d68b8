"""How far a student on a distilled set is from the members of a pool, while it is trained."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import load
from ddkit.evaluation import accuracy
from ddkit.evaluation.training import train_on
from ddkit.pipeline import evaluate
from ddkit.pools.pool import Pool
from ddkit.runtime import seeds
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress

STAGES = 5  # how often the student is compared
SAMPLE = 1000  # images that distributions are compared on


def student_distances(
    folder: Path, artifact: Path, epochs: int, data: str | None, progress: Progress
) -> tuple[list[int], list[list[float]]]:
    """Return at which epochs a student was compared, and for each member KL(member ‖ student) then.

    The student is the run's network, trained on the artifact with its own labels (section 3.3 of
    Teddy); distributions are compared on up to 1,000 real training images, in nats.
    """
    distilled = load(artifact)
    config = evaluate.config_of(distilled, data, None)
    protocol = accuracy.default_protocol(distilled).with_recipe(epochs=epochs)
    network = evaluate.own_network(distilled)
    run = evaluate.run_of(distilled, config, artifact.parent, progress)
    pool = Pool.open(folder, run.device)
    if (len(run.classes), list(run.shape)) != (
        pool.description["classes"],
        pool.description["shape"],
    ):
        raise DdkitError(
            f"the pool is for {pool.description['classes']} classes of {pool.description['shape']} "
            f"images, {artifact} for {len(run.classes)} of {list(run.shape)}"
        )
    sample = torch.randperm(len(run.train), generator=seeds.generator(0, "sample"))[:SAMPLE]
    inputs = run.resident.inputs(sample)
    seen = Resident(run.train, pool.space(), run.device).inputs(sample)  # in the members' space
    teachers = [log_probabilities(pool.network(index), seen) for index in range(len(pool))]
    stages = sorted({max(1, round(epochs * (n + 1) / STAGES)) for n in range(STAGES)})
    rows: list[list[float]] = [[] for _ in teachers]
    done = 0

    def compare(student: nn.Module) -> None:
        nonlocal done
        done += 1
        task.advance()
        if done in stages:
            student.eval()
            own = log_probabilities(student, inputs)
            for row, teacher in zip(rows, teachers, strict=True):
                row.append(kl(teacher, own))

    with progress.task("student", epochs) as task:
        train_on(distilled, protocol, network, 0, run.device, compare)
    return stages, rows


@torch.no_grad()
def log_probabilities(network: nn.Module, inputs: Tensor, batch: int = 250) -> Tensor:
    """Return log-softmax outputs (N, classes) of a network in eval mode."""
    parts: Sequence[Tensor] = [network(part) for part in inputs.split(batch)]
    return F.log_softmax(torch.cat(list(parts)), dim=1)


def kl(teacher: Tensor, student: Tensor) -> float:
    """Return KL(teacher ‖ student) of log-probabilities (N, classes), mean over images, in nats."""
    return float(F.kl_div(student, teacher, reduction="batchmean", log_target=True))

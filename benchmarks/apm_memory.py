"""APM's update: memory against time over segments, and against bare torch: benchmarks.apm_memory

    python -m benchmarks.apm_memory

Peak of live tensors (on CUDA: of the allocator) in the gradient of Eq. 4, over segment sizes, as in
the paper's Fig. 3; the same over the checkpoints K; the plain way (the teacher's forward pass once
per term, weights that require grad, all terms in one graph) and the students' training in turn.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from ddkit_apm.distances import l1
from ddkit_apm.matching import prediction_matching
from ddkit_apm.students import as_function
from torch import Tensor, nn

from benchmarks.plots import trade_off
from benchmarks.writing import write
from ddkit import networks
from ddkit.runtime.memory import PeakMemory
from ddkit.training import loop as training

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NETWORK, SHAPE, CLASSES = "convnet:depth=3:width=64", (3, 32, 32), 10
IMAGES, CHECKPOINTS, ALPHA = 80, 5, 0.1
SEGMENTS = (80, 40, 20, 10, 5, 1)
REPEATS = 7


def network(seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    made = networks.create(NETWORK, classes=CLASSES, shape=SHAPE, generator=generator)
    return made.to(DEVICE, dtype)


class Update:
    """One round's mini-batch, teacher and checkpoints."""

    def __init__(
        self,
        images: int = IMAGES,
        checkpoints: int = CHECKPOINTS,
        dtype: torch.dtype = torch.float32,
    ):
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(images, *SHAPE, generator=generator).to(DEVICE, dtype)
        self.classes = (torch.arange(images) % CLASSES).to(DEVICE)
        self.teacher = network(0, dtype).eval().requires_grad_(False)
        self.networks = [network(1 + number, dtype) for number in range(checkpoints)]
        skeleton = network(0, dtype).eval().requires_grad_(False)
        self.students = [
            as_function(skeleton, {k: v.detach() for k, v in student.state_dict().items()})
            for student in self.networks
        ]

    def gradient(self, segment: int = 0) -> Tensor:
        return prediction_matching(
            self.inputs,
            self.classes,
            self.teacher,
            self.students,
            l1,
            alpha=ALPHA,
            segment=segment,
        )[1]

    def plain(self) -> Tensor:
        """Return the same gradient the plain way."""
        inputs = self.inputs.clone().requires_grad_()
        teacher = network(0)
        loss = ALPHA * F.cross_entropy(teacher(inputs), self.classes)
        for student in self.networks:
            apart = (teacher(inputs) - student(inputs)).abs().mean(1)
            loss = loss - (apart + 1e-8).log().mean()
        loss.backward()
        assert inputs.grad is not None
        return inputs.grad


def peak(work: Callable[[], object]) -> int:
    work()
    with PeakMemory(DEVICE) as memory:
        work()
    return memory.peak


def seconds(works: Sequence[Callable[[], object]]) -> list[float]:
    """Return the median time of each, taken in turn."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(REPEATS):
        for work, found in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            found.append(time.perf_counter() - began)
    return [statistics.median(found[1:]) for found in times]


def apart(gradient: Tensor, reference: Tensor) -> float:
    return ((gradient - reference).norm() / reference.norm()).item()


def training_ratio() -> float:
    """Return the time of a student's training over that of a bare loop of the same steps."""
    inputs = torch.randn(100, 1, 14, 14).to(DEVICE)
    targets = torch.randn(100, CLASSES).to(DEVICE)
    epochs = 30

    def build() -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        spec = "convnet:depth=2:width=24"
        return networks.create(spec, classes=CLASSES, shape=(1, 14, 14), generator=generator).to(
            DEVICE
        )

    def ours() -> None:
        recipe = training.Recipe(epochs=epochs, batch_size=100, lr=0.02)
        for _ in training.fit(
            build(),
            lambda epoch: iter([(inputs, targets)]),
            recipe,
            steps_per_epoch=1,
            seed=0,
            loss=lambda guess, target: l1(target, guess).mean(),
        ):
            pass

    def bare() -> None:
        student = build()
        optimiser = torch.optim.SGD(student.parameters(), 0.02, momentum=0.9, weight_decay=5e-4)
        for epoch in range(epochs):
            for group in optimiser.param_groups:
                group["lr"] = 0.02 if epoch < epochs / 2 else 0.002
            optimiser.zero_grad()
            l1(targets, student(inputs)).mean().backward()
            optimiser.step()

    mine, floor = seconds([ours, bare])
    return mine / floor


def main() -> None:
    update = Update()
    works = [update.plain, *(lambda s=segment: update.gradient(s) for segment in SEGMENTS)]
    times = seconds(works)
    reference = update.gradient()
    plain_gap = apart(update.plain(), reference)
    double = Update(dtype=torch.float64)
    exact = double.gradient()
    found = {}
    for segment, took in zip(SEGMENTS, times[1:], strict=True):
        found[segment] = {
            "peak": peak(lambda s=segment: update.gradient(s)),
            "seconds": took,
            "difference": apart(update.gradient(segment), reference),
            "difference_float64": apart(double.gradient(segment), exact),
        }
    by_k = {k: peak(partial(Update(checkpoints=k).gradient, 10)) for k in (1, 5, 10)}
    student = training_ratio()
    rows = [
        (
            f"segment {s}",
            f"{f['peak'] / 1e6:.1f} MB",
            f"{1e3 * f['seconds']:.0f} ms",
            f"{times[0] / f['seconds']:.2f} ×",
            f"{f['difference']:.0e}",
            f"{f['difference_float64']:.0e}",
        )
        for s, f in found.items()
    ]
    rows.append(
        (
            "the plain way, all at once",
            f"{peak(update.plain) / 1e6:.1f} MB",
            f"{1e3 * times[0]:.0f} ms",
            "1 ×",
            f"{plain_gap:.0e}",
            "",
        )
    )
    note = (
        f"{NETWORK}, {IMAGES} images of {SHAPE}, K = {CHECKPOINTS}; medians of {REPEATS - 1}, in "
        "turn. With a segment of 10: "
        + ", ".join(f"K = {k} {value / 1e6:.1f} MB" for k, value in by_k.items())
        + f". Training of a student (ConvNet-2 ×24, 14 px, batch 100): {student:.3f} × a bare loop."
    )
    write(
        "apm_memory",
        {"segments": found, "plain_seconds": times[0], "checkpoints": by_k, "student": student},
        rows,
        [
            "gradient of Eq. 4",
            "peak",
            "time",
            "faster than the plain way",
            "difference",
            "in float64",
        ],
        note,
    )
    points = {f"{s} at a time": (1e3 * f["seconds"], f["peak"] / 1e6) for s, f in found.items()}
    trade_off("apm_memory", points, "time of an update, ms", "peak of live tensors, MB")


if __name__ == "__main__":
    main()

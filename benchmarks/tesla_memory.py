"""Memory of a TESLA iteration over T, and over micro-batches: python -m benchmarks.tesla_memory

Peak of live tensors (on CUDA: of the allocator) in one matching, beside the full unroll.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from ddkit_tesla.matching import Batch, Matched, match
from ddkit_tesla.students import Snapshots, as_function
from torch import Tensor

from benchmarks.plots import curves
from benchmarks.writing import write
from ddkit import networks
from ddkit.data.augmentation.dsa import apply_dsa, draw_dsa
from ddkit.runtime.memory import PeakMemory

STEPS = (5, 10, 25, 50, 100)
IMAGES, SHAPE, CLASSES = 32, (3, 16, 16), 10
NETWORK = "convnet:depth=2:width=32"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass
class Problem:
    """One matching of T steps on made images."""

    steps: int

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        network = networks.create(NETWORK, classes=CLASSES, shape=SHAPE, generator=generator)
        network.to(DEVICE)
        self.student = as_function(network)
        self.start = [parameter.detach() for parameter in network.parameters()]
        self.target = [p + 0.01 * torch.randn_like(p) for p in self.start]
        self.images = torch.randn(IMAGES, *SHAPE, generator=generator).to(DEVICE)
        self.labels = (torch.arange(IMAGES) % CLASSES).to(DEVICE)
        self.rate = torch.tensor(0.02, device=DEVICE)
        rows = torch.arange(IMAGES, device=DEVICE)
        size = (SHAPE[1], SHAPE[2])
        self.batches = [
            Batch(rows, draw_dsa(IMAGES, size, generator).to(DEVICE)) for _ in range(self.steps)
        ]

    @property
    def snapshot_bytes(self) -> int:
        """T·|θ|."""
        return self.steps * sum(tensor.nbytes for tensor in self.start)

    def match(self, micro_batch: int = 0, snapshots: Snapshots | None = None) -> Matched:
        return match(
            self.student,
            self.start,
            self.target,
            self.batches,
            self.images,
            self.labels,
            self.rate,
            micro_batch=micro_batch,
            snapshots=snapshots or Snapshots(),
        )

    def unrolled(self) -> tuple[Tensor, ...]:
        """Return the same gradients by autograd through all T steps at once."""
        images, rate = self.images.clone().requires_grad_(), self.rate.clone().requires_grad_()
        student = [tensor.clone().requires_grad_() for tensor in self.start]
        for batch in self.batches:
            logits = self.student(student, apply_dsa(images[batch.rows], batch.augmentation))
            loss = F.cross_entropy(logits, self.labels[batch.rows])
            slopes = torch.autograd.grad(loss, student, create_graph=True)
            student = [p - rate * slope for p, slope in zip(student, slopes, strict=True)]
        gap = sum(((a - b) ** 2).sum() for a, b in zip(student, self.target, strict=True))
        path = sum(((a - b) ** 2).sum() for a, b in zip(self.start, self.target, strict=True))
        return torch.autograd.grad(gap / path, (images, rate))


def peak(work: Callable[[], object]) -> int:
    work()  # what is made once does not count
    with PeakMemory(DEVICE) as memory:
        work()
    return memory.peak


def mega(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def over_steps() -> dict[int, dict[str, int]]:
    found = {}
    for steps in STEPS:
        problem = Problem(steps)
        found[steps] = {
            "snapshots": problem.snapshot_bytes,
            "exact": peak(problem.match),
            "exact, every √T-th kept": peak(
                lambda p=problem: p.match(snapshots=Snapshots(every=0))
            ),
            "full unroll": peak(problem.unrolled),
        }
        if DEVICE.type == "cuda":
            host = Snapshots("host")
            found[steps]["exact, on host"] = peak(lambda p=problem, s=host: p.match(snapshots=s))
    return found


def over_micro_batches() -> dict[int, dict[str, float]]:
    problem = Problem(10)
    whole = problem.match().images
    found = {}
    for size in (32, 16, 8, 4):
        part = problem.match(size).images
        found[size] = {
            "peak": peak(lambda s=size: problem.match(s)) - problem.snapshot_bytes,
            "relative difference": ((part - whole).norm() / whole.norm()).item(),
        }
    return found


def main() -> None:
    steps, micro = over_steps(), over_micro_batches()
    kinds = list(steps[5])[1:]
    rows = [
        (
            f"T = {count}",
            mega(found["snapshots"]),
            mega(found["exact"] - found["snapshots"]),
            *(mega(found[kind]) for kind in kinds),
        )
        for count, found in steps.items()
    ]
    write(
        "tesla_memory",
        {"steps": steps, "micro_batches": micro},
        rows,
        ["peak of one iteration", "T·\\|θ\\|", "exact − T·\\|θ\\|", *kinds],
        f"{NETWORK}, {IMAGES} images of {SHAPE}, DSA. Micro-batches at T = 10, peak − T·|θ|: "
        + "; ".join(
            f"{size} images {mega(found['peak'])} (gradient differs by "
            f"{found['relative difference']:.0e})"
            for size, found in micro.items()
        )
        + ".",
    )
    lines = {
        "exact, without the snapshots": {
            t: [(found["exact"] - found["snapshots"]) / 1e6] for t, found in steps.items()
        },
        **{kind: {t: [found[kind] / 1e6] for t, found in steps.items()} for kind in kinds},
    }
    curves("tesla_memory", lines, "T, steps of the student", "peak of live tensors, MB", log=True)


if __name__ == "__main__":
    main()

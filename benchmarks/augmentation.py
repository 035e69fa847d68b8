"""What gradients of augmentations cost that are the same bytes each time on CUDA too.

    python -m benchmarks.augmentation

Operations forward and backward beside torch's own backward, which adds atomically there; what the
difference is of a step of DM, DSA and TESLA (ConvNet-3-128, 32 px) that turns all images; and what
it saves to draw the parameters of the chosen operation only. Seconds are those of the process, on
one thread, so that other work on the machine counts little.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import torch
import torch.nn.functional as F
from ddkit_matching.distribution import distribution_loss
from ddkit_matching.gradient import gradient_loss
from ddkit_tesla.matching import Batch, match
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.writing import write
from ddkit import networks
from ddkit.data.augmentation.augment import draw_boxes, draw_flips, resample
from ddkit.data.augmentation.dsa import DsaParameters, apply_dsa, draw_dsa

SHAPE = (3, 32, 32)
COUNTS = (10, 100, 256)  # images
MOVING = ("crop", "scale", "rotate")  # whose backward is ddkit's own
REAL, SYNTHETIC = 256, 10  # images of a class
STEPS, IMAGES = 2, 100  # of a student

Work = Callable[[], object]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pictures(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=generator())


def drawn(count: int, operation: str) -> DsaParameters:
    return draw_dsa(count, SHAPE[1:], generator(), strategy=operation)


def torch_sample(images: Tensor, y: Tensor, x: Tensor, *, border: bool = False) -> Tensor:
    """Sample as `ddkit.data.augmentation.sampling.sample`, with torch's own backward."""
    shape = (len(images), *images.shape[2:])
    grid = torch.stack([x.expand(shape), y.expand(shape)], dim=3)
    beyond = "border" if border else "zeros"
    return F.grid_sample(images, grid, padding_mode=beyond, align_corners=False)


def torch_crop(images: Tensor, shift: Tensor) -> Tensor:
    """Cut out the shifted window by `gather`, with torch's own backward."""
    height, width = images.shape[2:]
    y = torch.arange(height).view(1, -1, 1) + shift[:, 0].view(-1, 1, 1)
    x = torch.arange(width).view(1, 1, -1) + shift[:, 1].view(-1, 1, 1)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    source = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    index = source.flatten(1).unsqueeze(1).expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view_as(images) * inside.unsqueeze(1)


@contextmanager
def torch_gradients() -> Iterator[None]:
    """Differentiate scale, rotate and random resized crops by torch."""
    with (
        patch("ddkit.data.augmentation.dsa.sample", torch_sample),
        patch("ddkit.data.augmentation.augment.sample", torch_sample),
    ):
        yield


def in_turn(ways: Mapping[str, Work], repetitions: int) -> dict[str, float]:
    """Return the median seconds of the process of each, taken in turn after one of each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + repetitions):
        for name, work in ways.items():
            began = time.process_time()
            work()
            taken[name].append(time.process_time() - began)
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def operation_seconds(operation: str, count: int) -> dict[str, float]:
    """Measure an operation forward and backward, ours and torch's."""
    images = pictures(count).requires_grad_()
    upstream = torch.randn(images.shape, generator=generator())
    call: Callable[[Tensor], Tensor]
    if operation == "rrc":
        boxes = draw_boxes(count, SHAPE[1:], generator())
        call = partial(resample, boxes=boxes, flips=draw_flips(count, generator()))
    else:
        call = partial(apply_dsa, parameters=drawn(count, operation))

    def ddkit() -> None:
        torch.autograd.grad(call(images), images, upstream)

    def bare() -> None:
        if operation == "crop":
            ((_, shift),) = drawn_crop.steps
            torch.autograd.grad(torch_crop(images, shift), images, upstream)
        else:
            with torch_gradients():
                ddkit()

    drawn_crop = drawn(count, "crop")
    return in_turn({"torch": bare, "ddkit": ddkit}, 30)


def network() -> nn.Module:
    made = networks.create(
        "convnet:depth=3:width=128", classes=10, shape=SHAPE, generator=generator()
    )
    return made.eval()


def class_step(loss: Callable[[nn.Module, Tensor, Tensor, int], Tensor]) -> Work:
    """Return the step of a class: real and synthetic images turned alike, and matched."""
    own, real = network(), pictures(REAL)
    own.requires_grad_(loss is gradient_loss)
    synthetic = pictures(SYNTHETIC).requires_grad_()
    one = drawn(1, "rotate")

    def augmented(images: Tensor) -> Tensor:
        return apply_dsa(images, one[torch.zeros(len(images), dtype=torch.int64)])

    def step() -> None:
        torch.autograd.grad(loss(own, augmented(real), augmented(synthetic), 0), synthetic)

    return step


def tesla_step() -> Work:
    """Return an iteration of few student steps; the ratio is that of one."""
    own, images = network(), pictures(IMAGES)
    names = [name for name, _ in own.named_parameters()]
    start = [parameter.detach() for parameter in own.parameters()]
    target = [value + 1e-3 * torch.randn(value.shape, generator=generator()) for value in start]
    batch = Batch(torch.arange(IMAGES), drawn(IMAGES, "rotate"))
    classes = torch.arange(IMAGES) % 10

    def student(parameters: list[Tensor], inputs: Tensor) -> Tensor:
        logits: Tensor = functional_call(own, dict(zip(names, parameters, strict=True)), (inputs,))
        return logits

    def step() -> None:
        match(
            student,
            start,
            target,
            [batch] * STEPS,
            images,
            classes,
            torch.tensor(0.01, requires_grad=True),
        )

    return step


CASES: dict[str, tuple[Work, int, int]] = {
    # the step, how often in it a gradient goes through an augmentation, and of how many images
    f"DM, a class: {REAL} real images, {SYNTHETIC} synthetic": (
        class_step(distribution_loss),
        1,
        SYNTHETIC,
    ),
    f"DSA, a class: {REAL} real images, {SYNTHETIC} synthetic": (
        class_step(gradient_loss),
        1,
        SYNTHETIC,
    ),
    f"TESLA, {STEPS} student steps, {IMAGES} images": (tesla_step(), STEPS, IMAGES),
}


def draw_seconds(count: int) -> dict[str, float]:
    """Measure the draws of one operation, and of all, a thousand times."""

    def repeated(mode: str) -> Work:
        def draw() -> None:
            for _ in range(1000):
                draw_dsa(count, SHAPE[1:], state, mode=mode)

        state = generator()
        return draw

    return in_turn({"all": repeated("multiple"), "one": repeated("single")}, 5)


def main() -> None:
    torch.set_num_threads(1)
    operations = {
        f"{operation}, {count} images": operation_seconds(operation, count)
        for operation in (*MOVING, "rrc")
        for count in COUNTS
    }
    rows = [
        (
            f"{name}, forward and backward",
            f"{1e3 * t['torch']:.2f} ms",
            f"{1e3 * t['ddkit']:.2f} ms",
            f"{t['ddkit'] / t['torch']:.2f}",
        )
        for name, t in operations.items()
    ]
    steps = {}
    for name, (work, times, count) in CASES.items():
        turned = operations[f"rotate, {count} images"]
        seconds = in_turn({"ddkit": work}, 3)["ddkit"]
        before = seconds - times * (turned["ddkit"] - turned["torch"])
        steps[name] = {"torch": before, "ddkit": seconds}
        rows.append(
            (name, f"{1e3 * before:.0f} ms", f"{1e3 * seconds:.0f} ms", f"{seconds / before:.4f}")
        )
    draws = {f"draws for {count} images": draw_seconds(count) for count in COUNTS}
    rows += [
        (
            f"{name}, of one operation (last) or all",
            f"{1e3 * t['all']:.0f} µs",
            f"{1e3 * t['one']:.0f} µs",
            f"{t['one'] / t['all']:.2f}",
        )
        for name, t in draws.items()
    ]
    write(
        "augmentation",
        {"operations": operations, "steps": steps, "draws": draws},
        rows,
        ["3×32×32, float32", "before", "ddkit", "ratio"],
        "Before: torch's own backward of `grid_sample` and `gather`; steps without the difference "
        "that was measured for rotate, the dearest operation; draws of all six operations. Medians "
        "of the process's seconds, taken in turn.",
    )


if __name__ == "__main__":
    main()

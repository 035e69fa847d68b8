"""Images per second: ddkit's `Resident` against torchvision's loader, on the same two cores.

    python -m benchmarks.loader --data cifar10

Both shuffle, crop (padding an eighth of the width), flip and normalise the same images. The floor
is what any loader must at least do: gather the bytes of a batch and convert them to float32.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.writing import write
from ddkit.data.loading.resident import Resident
from ddkit.data.options import DataOptions
from ddkit.data.sources.load import load
from ddkit.data.space import InputSpace
from ddkit.data.split import Split

CORES = 2
Batches = Iterable[tuple[Tensor, Tensor]]


class Pictures(Dataset[tuple[Tensor, int]]):
    """A split as torchvision's own sets give it: one PIL image at a time, transformed alone."""

    def __init__(self, split: Split, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels = split.take(torch.arange(len(split))).permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def torchvision_loader(split: Split, space: InputSpace, batch_size: int) -> Callable[[], Batches]:
    """Return epochs of a DataLoader with one worker per core, kept alive between them."""
    side = split.shape[-1]
    transform = v2.Compose(
        [
            v2.RandomCrop(side, padding=side // 8),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(space.mean.tolist(), space.std.tolist()),
        ]
    )
    loader = DataLoader(
        Pictures(split, transform),
        batch_size,
        shuffle=True,
        num_workers=CORES,
        persistent_workers=True,
    )
    return lambda: loader


def resident_loader(split: Split, space: InputSpace, batch_size: int) -> Callable[[], Batches]:
    """Return epochs of `Resident`."""
    resident, generator = Resident(split, space, "cpu"), torch.Generator().manual_seed(0)
    return lambda: resident.batches(batch_size, generator, augmentation="crop-flip")


def floor_loader(split: Split, space: InputSpace, batch_size: int) -> Callable[[], Batches]:
    """Return epochs of gathering and converting alone."""
    images = split.take(torch.arange(len(split)))

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.split(torch.randperm(len(split)), batch_size):
            yield images.index_select(0, rows).float(), split.labels.index_select(0, rows)

    return epoch


# Each with the number of threads that torch may use. One thread is what is left of `Resident` on a
# machine whose other core is busy: two would wait for each other in every operation.
LOADERS = {
    "torchvision DataLoader, 2 workers": (torchvision_loader, CORES),
    "ddkit Resident": (resident_loader, CORES),
    "ddkit Resident, 1 thread": (resident_loader, 1),
    "floor: index_select and conversion": (floor_loader, CORES),
}


def images_per_second(batches: Batches, threads: int) -> float:
    """Return how fast one epoch passes."""
    torch.set_num_threads(threads)
    start, count = time.perf_counter(), 0
    for inputs, _ in batches:
        count += len(inputs)
    return count / (time.perf_counter() - start)


def measure(split: Split, batch_size: int, repetitions: int) -> dict[str, list[float]]:
    """Return the images/s of every repetition; the loaders take turns, after one epoch each."""
    space = InputSpace.fit(split, "standard")
    epochs = {name: (make(split, space, batch_size), n) for name, (make, n) in LOADERS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(1 + repetitions):
        for name, (epoch, threads) in epochs.items():
            speeds[name].append(images_per_second(epoch(), threads))
    return {name: values[1:] for name, values in speeds.items()}


def synthetic() -> Split:
    """Return random bytes in the shape of CIFAR-10's training split."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50_000, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (50_000,), generator=generator)
    return Split(images, labels, tuple("0123456789"))


@click.command(help=__doc__)
@click.option("--data", default="synthetic", show_default=True, help="A data set, or synthetic.")
@click.option("--batch-size", default=256, show_default=True)
@click.option("--repetitions", default=5, show_default=True)
def main(data: str, batch_size: int, repetitions: int) -> None:
    if hasattr(os, "sched_setaffinity"):  # more cores would help one loader more than the other
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    split = synthetic() if data == "synthetic" else load(DataOptions(name=data), "train")
    speeds = measure(split, batch_size, repetitions)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    baseline = next(iter(medians.values()))
    write(
        "loader",
        {"data": Path(data).name, "batch_size": batch_size, "images/s": speeds},
        [(name, f"{v:,.0f}", f"{v / baseline:.1f}×") for name, v in medians.items()],
        ["loader", "images/s", "against torchvision"],
        f"{Path(data).name}: {len(split)} images of {'×'.join(map(str, split.shape))}, batches of "
        f"{batch_size}, crop + flip + normalise; median of {repetitions} alternating epochs, after "
        f"one epoch each; {CORES} cores, torchvision {torchvision.__version__}.",
    )


if __name__ == "__main__":
    main()

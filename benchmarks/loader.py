"""Images per second: ddkit's `Resident` against torchvision's loader, on the same two cores.

    python -m benchmarks.loader --data cifar10

Both shuffle, crop (padding an eighth of the width), flip and normalise the same images. The floor
is what any loader must at least do: gather the bytes of a batch and convert them to float32.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ddkit.data.options import DataOptions
from ddkit.data.resident import Resident
from ddkit.data.sources import load
from ddkit.data.space import InputSpace
from ddkit.data.split import Split

CORES = 2
RESULTS = Path(__file__).parent / "results"
Batches = Iterable[tuple[Tensor, Tensor]]


class Pictures(Dataset[tuple[Tensor, int]]):
    """A split as torchvision's own sets give it: one PIL image at a time, transformed alone."""

    def __init__(self, split: Split, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels = split.images.permute(0, 2, 3, 1).contiguous().numpy()
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

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.split(torch.randperm(len(split)), batch_size):
            yield split.images.index_select(0, rows).float(), split.labels.index_select(0, rows)

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


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    speeds = {name: statistics.median(values) for name, values in report["images/s"].items()}
    baseline = next(iter(speeds.values()))
    lines = [
        f"{report['data']}, {report['images']} images of {report['shape']}, batches of "
        f"{report['batch_size']}, crop + flip + normalise; median of {report['repetitions']} "
        f"alternating epochs; {report['cores']} cores, torch {report['torch']}, "
        f"torchvision {report['torchvision']}.",
        "",
        "| loader | images/s | against torchvision |",
        "|---|---:|---:|",
    ]
    lines += [f"| {name} | {v:,.0f} | {v / baseline:.1f}× |" for name, v in speeds.items()]
    return "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.option("--data", default="synthetic", show_default=True, help="A data set, or synthetic.")
@click.option("--batch-size", default=256, show_default=True)
@click.option("--repetitions", default=5, show_default=True)
@click.option("--out", default=RESULTS, show_default=True, type=click.Path(path_type=Path))
def main(data: str, batch_size: int, repetitions: int, out: Path) -> None:
    if hasattr(os, "sched_setaffinity"):  # more cores would help one loader more than the other
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    split = synthetic() if data == "synthetic" else load(DataOptions(name=data), "train")
    report: dict[str, Any] = {
        "data": Path(data).name,
        "images": len(split),
        "shape": "×".join(map(str, split.shape)),
        "batch_size": batch_size,
        "repetitions": repetitions,
        "cores": CORES,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "images/s": measure(split, batch_size, repetitions),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "loader.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "loader.md").write_text(table(report))
    click.echo(table(report))


if __name__ == "__main__":
    main()

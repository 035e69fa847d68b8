"""Images per second of data that stay out of memory, against torchvision's loader.

    python -m benchmarks.streaming --data imagenette

The data are JPEG files of photographs. Every loader serves batches of 64x64 random resized crops,
mirrored and normalised. torchvision (two workers) and the encoded tier cut boxes out of the full
images, antialiased. The mapped tier cuts them out of images that were scaled down when the cache
was written: to 64 pixels, what `--resize 64` trains on, so that boxes are blown up; or to what
`--detail` says, antialiased: 128 pixels, or 224 (as many as the files of imagenette here have).

Then the growth of anonymous memory while an epoch is read from a mapped file of about 1 GB.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from io import BytesIO
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
from ddkit.data.pixels.base import Mapped, Pixels
from ddkit.data.pixels.cache import Cache
from ddkit.data.pixels.decoding import content_of
from ddkit.data.pixels.originals import Listing
from ddkit.data.pixels.picture import Reading
from ddkit.data.pixels.tiers import detailed, encoded, mapped
from ddkit.data.sources.folders import read
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.runtime.progress import Silent

CORES = 2
SIDE = 64
DETAILS = (128, 224)
Batches = Iterable[tuple[Tensor, Tensor]]


class Photographs(Dataset[tuple[Tensor, int]]):
    """Encoded images, as torchvision's own sets give them: opened and transformed one by one."""

    def __init__(self, listing: Listing, transform: Callable[[Image.Image], Tensor]) -> None:
        self.contents = [content_of(file) for file in listing.images.files()]
        self.labels = listing.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.open(BytesIO(self.contents[index])).convert("RGB")
        return self.transform(image), self.labels[index]


def torchvision_loader(listing: Listing, space: InputSpace, batch_size: int) -> Batches:
    """Return a DataLoader with one worker per core, kept alive between epochs."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(space.mean.tolist(), space.std.tolist()),
        ]
    )
    return DataLoader(
        Photographs(listing, transform),
        batch_size,
        shuffle=True,
        num_workers=CORES,
        persistent_workers=True,
    )


def epochs_of(split: Split, space: InputSpace, batch_size: int) -> Callable[[], Batches]:
    """Return epochs of a split in its tier."""
    resident, generator = Resident(split, space, "cpu"), torch.Generator().manual_seed(0)
    return lambda: resident.batches(batch_size, generator, augmentation="rrc-flip")


def images_per_second(batches: Batches) -> float:
    """Return how fast one epoch passes."""
    start, count = time.perf_counter(), 0
    for inputs, _ in batches:
        count += len(inputs)
    return count / (time.perf_counter() - start)


def anonymous_growth(batch_size: int, megabytes: int = 1000) -> float:
    """Return by how many MB an epoch over a mapped file of so many MB makes the process grow.

    Files of that name are zeros: what is read costs the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        images = megabytes * 10**6 // (3 * SIDE * SIDE)
        with (Path(folder) / "pixels.bin").open("wb") as file:
            for _ in range(images):
                file.write(os.urandom(3 * SIDE * SIDE))
        cache = Cache(Path(folder), "")
        pixels = Mapped(cache, cache.map("pixels.bin", "uint8").view(-1, 3, SIDE, SIDE))
        split = Split(pixels, torch.zeros(images, dtype=torch.int64), ("one",))
        space = InputSpace(torch.zeros(3), torch.ones(3))
        batches = epochs_of(split, space, batch_size)
        next(iter(batches()))
        before, highest = anonymous(), 0.0
        for _ in batches():
            highest = max(highest, anonymous() - before)
        return highest


def anonymous() -> float:
    """Return the anonymous memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


def measure(listing: Listing, batch_size: int, repetitions: int) -> dict[str, list[float]]:
    """Return the images/s of every repetition; the loaders take turns, after one epoch each."""
    images, shape = listing.images, (3, SIDE, SIDE)
    os.environ["DDKIT_TIER"] = "mapped"
    tiers: dict[str, Pixels] = {
        f"mapped at {SIDE} px": mapped(images, shape, Reading(SIDE), Silent()),
        **{
            f"mapped at {detail} px, antialiased crops": detailed(
                images, Reading(SIDE), detail, Silent()
            )
            for detail in DETAILS
        },
        "encoded": encoded(images, shape, Reading(SIDE), Silent()),
    }
    splits = {name: Split(each, listing.labels, listing.classes) for name, each in tiers.items()}
    space = InputSpace.fit(splits[f"mapped at {SIDE} px"], "standard")
    loader = torchvision_loader(listing, space, batch_size)
    epochs: dict[str, Callable[[], Batches]] = {
        f"torchvision DataLoader, {CORES} workers": lambda: loader,
        **{f"ddkit, {name}": epochs_of(split, space, batch_size) for name, split in splits.items()},
    }
    speeds: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(1 + repetitions):
        for name, epoch in epochs.items():
            speeds[name].append(images_per_second(epoch()))
    return {name: values[1:] for name, values in speeds.items()}


@click.command(help=__doc__)
@click.option("--data", required=True, help="A folder of photographs, in any layout ddkit reads.")
@click.option("--batch-size", default=128, show_default=True)
@click.option("--repetitions", default=5, show_default=True)
def main(data: str, batch_size: int, repetitions: int) -> None:
    if hasattr(os, "sched_setaffinity"):  # more cores would help one loader more than the other
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    torch.set_num_threads(CORES)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DDKIT_CACHE"] = folder
        listing = read(DataOptions(name=data), "train")
        speeds = measure(listing, batch_size, repetitions)
    growth = anonymous_growth(batch_size)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    baseline = next(iter(medians.values()))
    write(
        "streaming",
        {
            "data": Path(data).name,
            "batch_size": batch_size,
            "images/s": speeds,
            "load average": os.getloadavg()[0],
            "anonymous memory, growth in MB": growth,
        },
        [(name, f"{v:,.0f}", f"{v / baseline:.1f}×") for name, v in medians.items()],
        ["loader", "images/s", "against torchvision"],
        f"{Path(data).name}: {len(listing.labels)} JPEG files, random resized crops to {SIDE} + "
        f"flip + normalise, batches of {batch_size}; median of {repetitions} alternating epochs, "
        f"after one epoch each; {CORES} cores, torchvision {torchvision.__version__}, load average "
        f"{os.getloadavg()[0]:.1f}. Mapped crops are cut out of what was scaled down when the "
        "cache was written, the others out of whole files. An epoch over a mapped file of 1 GB "
        f"makes the process grow by {growth:.0f} MB of anonymous memory.",
    )


if __name__ == "__main__":
    main()

"""Images per second of each tier: in memory, in a mapped file, in JPEG files."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor
from torchvision.io import decode_jpeg

from benchmarks.device.figures import Bench, Figure, Row
from benchmarks.device.floors import Floor
from benchmarks.device.timing import Step, in_turn, seconds_of
from ddkit.data.decoding import content_of, workers
from ddkit.data.folders import read
from ddkit.data.options import DataOptions
from ddkit.data.originals import Listing
from ddkit.data.pixels import Pixels
from ddkit.data.resident import Augmentation, Resident
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.data.tiers import encoded, mapped
from ddkit.progress import Silent

IMAGES, DISTINCT, PHOTOGRAPH = 2000, 100, 256  # files, pictures in them, their side in pixels
SIDE, BATCH = 64, 250


@dataclass
class Photographs:
    """JPEG files, made when they are first asked for, and the tiers of their pixels."""

    bench: Bench
    images: int = IMAGES

    @cached_property
    def listing(self) -> Listing:
        root = self.bench.folder / "photographs" / "train"
        write_photographs(root, self.images)
        return read(DataOptions(name=str(root.parent)), "train")

    @cached_property
    def mapped(self) -> Pixels:
        return mapped(self.listing.images, (3, SIDE, SIDE), SIDE, Silent())

    @cached_property
    def encoded(self) -> Pixels:
        return encoded(self.listing.images, (3, SIDE, SIDE), SIDE, Silent())

    @cached_property
    def in_memory(self) -> Tensor:
        return self.mapped.take(torch.arange(self.images))

    def resident(self, images: Tensor | Pixels, *, streamed: bool = False) -> Resident:
        """Return a split on the device; `streamed`: as one whose pixels do not fit there."""
        split = Split(images, self.listing.labels, self.listing.classes)
        space = InputSpace(torch.full((3,), 0.5), torch.full((3,), 0.25))
        resident = Resident(split, space, self.bench.device)
        if streamed:
            resident.pixels = split.pixels
        return resident


def figures(bench: Bench) -> list[Figure]:
    photographs = Photographs(bench)
    return [
        Figure("loader, in memory", partial(memory_rows, photographs), share=0.5),
        Figure("loader, mapped", partial(mapped_rows, photographs), share=0.5),
        Figure("loader, encoded", partial(encoded_rows, photographs)),
    ]


def memory_rows(photographs: Photographs, seconds: float) -> Iterator[Row]:
    resident = photographs.resident(photographs.in_memory)
    title = f"loader, in memory, {SIDE} px, crop and flip"
    yield decoded_row(photographs, title, resident, seconds)


def mapped_rows(photographs: Photographs, seconds: float) -> Iterator[Row]:
    resident = photographs.resident(photographs.mapped, streamed=True)
    title = f"loader, mapped and streamed, {SIDE} px, crop and flip"
    yield decoded_row(photographs, title, resident, seconds)


def decoded_row(photographs: Photographs, title: str, resident: Resident, seconds: float) -> Row:
    """Return the row of an epoch whose floor is to move its bytes: read uint8, write float32."""
    bench, count = photographs.bench, photographs.images
    pixels = count * 3 * SIDE * SIDE
    floor = Floor(5 * pixels / bench.floors.bandwidth, "memory")
    if resident.streams and bench.floors.upload:
        upload = Floor(pixels / bench.floors.upload, "copy to the device")
        floor = max(floor, upload, key=lambda each: each.seconds)
    step = epoch_of(resident, "crop-flip")
    step()
    taken = in_turn({"epoch": step}, bench.device, seconds / 2)["epoch"]
    return Row(title, taken, "", floor, None, count, "images/s")


def encoded_rows(photographs: Photographs, seconds: float) -> Iterator[Row]:
    """Serve whole images and random boxes; the floor is torchvision's decoder alone."""
    device = photographs.bench.device
    resident = photographs.resident(photographs.encoded)
    decode = decoding(photographs.listing, device)
    alone = seconds_of(decode, device)
    part = max(1, min(photographs.images, int(photographs.images * seconds / 20 / alone)))
    batches = max(1, part // BATCH)
    count = min(batches * BATCH, photographs.images)
    ways: dict[str, Augmentation] = {"whole images": "crop-flip", "random boxes": "rrc-flip"}
    decoder = "torchvision's decoder alone" + ", on the device" * (device.type == "cuda")
    scale = count / photographs.images
    for name, augmentation in ways.items():
        step = epoch_of(resident, augmentation, batches)
        step()
        taken = in_turn({"epoch": step, "alone": decode}, device, seconds / 4)
        title = f"loader, encoded, {PHOTOGRAPH} px JPEG to {SIDE} px, {name}"
        yield Row(title, taken["epoch"], "", Floor(scale * taken["alone"], decoder), None, count,
                  "images/s")  # fmt: skip


def epoch_of(resident: Resident, augmentation: Augmentation, batches: int | None = None) -> Step:
    """Return an epoch, or its first batches."""
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        for _ in islice(resident.batches(BATCH, generator, augmentation=augmentation), batches):
            pass

    return epoch


def decoding(listing: Listing, device: torch.device) -> Step:
    """Return the decoding of all files by torchvision: on CUDA in batches, on a CPU by threads."""
    contents = [bytearray(content_of(file)) for file in listing.images.files()]
    files = [torch.frombuffer(content, dtype=torch.uint8) for content in contents]
    if device.type == "cuda":
        parts = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
        return lambda: [decode_jpeg(part, device=device) for part in parts]
    one = cast(Callable[[Tensor], Tensor], decode_jpeg)
    return lambda: exhaust(workers().map(one, files))


def exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def write_photographs(root: Path, count: int) -> None:
    """Write JPEG files with the smoothness of photographs: noise, blown up."""
    (root / "one").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for number in range(min(DISTINCT, count)):
        noise = torch.randint(256, (24, 24, 3), dtype=torch.uint8, generator=generator)
        image = Image.fromarray(noise.numpy()).resize((PHOTOGRAPH,) * 2, Image.Resampling.BICUBIC)
        image.save(root / "one" / f"{number:05d}.jpg", quality=90)
    for number in range(DISTINCT, count):
        os.link(root / "one" / f"{number % DISTINCT:05d}.jpg", root / "one" / f"{number:05d}.jpg")

"""The loader gives what it gives on a CPU, from memory, streamed, and decoded on the device."""

from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from benchmarks.device.check.checking import checked, demand
from benchmarks.device.check.waits import loader
from benchmarks.device.parts import Bench
from ddkit.data.augmentation.augment import crop, draw_flips, draw_tries
from ddkit.data.loading.resident import Resident
from ddkit.data.pixels.crops import crops_of
from ddkit.data.pixels.nvjpeg import crops_on

MOVED = ("none", "crop", "flip", "crop-flip")  # bytes go from one place to another
ROUNDED = 1e-5  # what boxes that are blown up may differ by
LEVELS = 4.0  # of 255, on average: decoders differ in how they blow up colours


def batches_agree(bench: Bench) -> str:
    """Check an epoch of every augmentation against the same one on the CPU."""
    here = loader(bench)
    cpu = Resident(here.split, here.space, "cpu")
    streamed = loader(bench)
    streamed.pixels = here.split.pixels  # as pixels do that do not fit
    for augmentation in (*MOVED, "rrc-flip"):
        expected, found, sent = (epoch(each, augmentation) for each in (cpu, here, streamed))
        demand(torch.equal(found, sent), f"{augmentation}: streamed batches are others")
        away = float((found - expected).abs().max())
        if augmentation in MOVED:
            demand(away == 0, f"{augmentation}: not the same bytes, by {away:.2g}")
        else:
            demand(away < ROUNDED, f"{augmentation}: differs by {away:.2g}")
    return f"the same bytes; boxes differ by {away:.1g}"


def epoch(resident: Resident, augmentation: str) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    batches = resident.batches(64, generator, augmentation=augmentation)
    return torch.cat([inputs.cpu() for inputs, _ in batches])


def crops_agree(bench: Bench) -> str:
    """Check crops of a large batch: rows of windows are a view of more than 2³¹ elements."""
    count, side, cut = (4096, 72, 64) if bench.cuda else (4, 72, 64)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    top, left = torch.randint(9, (2, count), generator=generator)
    expected = torch.stack(
        [
            image[:, row : row + cut, column : column + cut]
            for image, row, column in zip(images, top.tolist(), left.tolist(), strict=True)
        ]
    )
    found = crop(*(each.to(bench.device) for each in (images, top, left)), cut, cut)
    wrong = int((found.cpu() != expected).flatten(1).any(1).sum())
    demand(not wrong, f"{wrong} of {count} crops are others")
    return f"{count} crops as cut one by one"


def decoders_agree(bench: Bench) -> str:
    """Check crops of JPEG files decoded on the device against those that PIL decodes."""
    files = [(photograph(seed), f"photograph {seed}") for seed in range(32)]
    generator = torch.Generator().manual_seed(0)
    tries, flips = draw_tries(len(files), generator), draw_flips(len(files), generator)
    expected = crops_of(files, (64, 64), tries, flips)
    found = crops_on(bench.device, files, (64, 64), tries, flips)
    demand(found is not None, "the device cannot decode them")
    assert found is not None
    away = (found.cpu().float() - expected.float()).abs()
    demand(float(away.mean()) < LEVELS, f"they differ by {away.mean():.1f} levels on average")
    return f"they differ by {away.mean():.2f} of 255 levels on average, {away.max():.0f} at most"


def photograph(seed: int) -> bytes:
    """Return a JPEG file of 256 px with the smoothness of photographs: noise, blown up."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(256, (24, 24, 3), dtype=torch.uint8, generator=generator)
    image = Image.fromarray(noise.numpy()).resize((256, 256), Image.Resampling.BICUBIC)
    content = BytesIO()
    image.save(content, "JPEG", quality=90)
    return content.getvalue()


ITEMS = [
    checked("batches as on the CPU, streamed too", batches_agree, 3, "15 epochs of 400 images"),
    checked("crops of large batches", crops_agree, 1, "4096 crops"),
    checked("nvJPEG beside PIL", decoders_agree, 2, "32 photographs", cuda=True),
]

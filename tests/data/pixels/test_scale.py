"""A stand-in for ImageNet-1K: 1.3 million images are cached, killed, gone on with, and read."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ddkit.data.loading.resident import Resident
from ddkit.data.pixels.originals import Listing, Originals
from ddkit.data.pixels.picture import Reading
from ddkit.data.sources.load import opened
from ddkit.data.space import InputSpace
from ddkit.runtime.progress import Silent

COUNT = 1_300_000
CLASSES = 1000
LIMIT = 100  # MB of anonymous memory; what is in flight follows from the batch, not from the data


class Formula(Originals):
    """Images that follow from their number: decoding as many files would take the test's time."""

    title, place = "data: made up", "formula"

    def __init__(self, count: int, side: int) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def files(self, first=0):
        raise NotImplementedError

    def reader(self, progress):
        raise NotImplementedError

    @property
    def stamp(self) -> str:
        return f"{self.count} {self.side}"

    def shape(self, reading):
        return (3, self.side, self.side)

    def decoded(self, first, rows, reading, size):
        for start in range(first, self.count, rows):
            yield self.at(torch.arange(start, min(start + rows, self.count)))

    def at(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return images, uint8 (B, 3, side, side): bytes that count on from one of 256² starts."""
        start = (numbers % 256 + numbers // 256).to(torch.uint8)
        values = torch.arange(3 * self.side**2).to(torch.uint8)
        return (start[:, None] + values).view(-1, 3, self.side, self.side)


def listing(side: int) -> Listing:
    images = Formula(COUNT, side)
    return Listing(images, torch.arange(COUNT) % CLASSES, tuple(map(str, range(CLASSES))))


def anonymous() -> float:
    """Return the anonymous memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


def killed(folder: Path, side: int) -> int:
    """Build in another process, kill it in the midst of it, and return how many rows it wrote."""
    child = subprocess.Popen([sys.executable, __file__, str(side)], env=dict(os.environ))
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and child.poll() is None:
        written = [json.loads(path.read_text())["rows"] for path in folder.glob("*/progress.json")]
        if written and written[0] > COUNT // 10:
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    assert child.wait() == -signal.SIGKILL
    (path,) = folder.glob("*/progress.json")
    return json.loads(path.read_text())["rows"]


@pytest.mark.parametrize("side", [16, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is anonymous")
def test_1300000_images_are_cached_killed_gone_on_with_and_read_in_little_memory(
    own_cache, side, monkeypatch
):
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    rows = killed(own_cache / "data", side)
    assert COUNT // 10 < rows < COUNT
    split = opened(listing(side), Reading(), Silent())
    (path,) = own_cache.glob("data/*/pixels.bin")
    try:
        assert path.stat().st_size == COUNT * 3 * side**2
        source = split.images.cache.folder
        assert json.loads((source / "header.json").read_text())["rows"] == COUNT
        every = Formula(COUNT, side)
        ranges = zip(split.pixels.chunks(), torch.arange(COUNT).split(4096), strict=True)
        assert all(torch.equal(chunk, every.at(numbers)) for chunk, numbers in ranges)

        space = InputSpace(torch.zeros(3), torch.ones(3))
        resident = Resident(split, space, "cpu")
        batches = resident.batches(128, torch.Generator().manual_seed(0))
        inputs, _ = next(batches)
        before, highest, seen = anonymous(), 0.0, torch.zeros(CLASSES, dtype=torch.int64)
        for _, labels in batches:
            seen += torch.bincount(labels, minlength=CLASSES)
            highest = max(highest, anonymous() - before)
        assert inputs.shape[1:] == (3, side, side)
        assert seen.sum() == COUNT - 128
        assert highest < LIMIT
    finally:
        path.unlink()


if __name__ == "__main__":
    opened(listing(int(sys.argv[1])), Reading(), Silent())

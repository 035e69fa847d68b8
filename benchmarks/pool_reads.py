"""What reading one (θ_t, θ_{t+M}) pair from a 1 GB expert touches: python -m benchmarks.pool_reads

Counted are the file's pages that the process touched (/proc/self/smaps), and those that the kernel
has read into its page cache, from which the file is dropped before (mincore): it reads ahead.
"""

import ctypes
import mmap
import os
import tempfile
from pathlib import Path

import torch

from benchmarks.writing import write
from ddkit.pools.pool import Pool
from ddkit.runtime.files import write_json
from ddkit.runtime.tensors import write_tensors

EPOCHS = 51
PARAMETERS = {"features.weight": (1024, 4096), "classifier.weight": (200, 4096)}
PAIR = (20, 22)


def expert_file(folder: Path) -> Path:
    """Write an expert of 51 snapshots, 1.02 GB, as `ddkit pool` stores them."""
    tensors = {
        f"{epoch}.state.{name}": torch.full(shape, float(epoch))
        for epoch in range(EPOCHS)
        for name, shape in PARAMETERS.items()
    }
    members = [
        {"number": e, "role": "expert", "step": 0, "epoch": e, "figures": {}, "pruning": None}
        for e in range(EPOCHS)
    ]
    path = folder / "expert-0000.safetensors"
    write_tensors(path, tensors, {"members": members})
    write_json(folder / "pool.json", {"tasks": ["expert-0000"]})
    return path


def drop_from_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_bytes(path: Path) -> int:
    """Return how much of a file is in the page cache."""
    size = path.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    access = mmap.PROT_READ | mmap.PROT_WRITE  # private: ctypes wants to be able to write
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), size, prot=access, flags=mmap.MAP_PRIVATE) as mapped,
    ):
        view = (ctypes.c_char * size).from_buffer(mapped)
        flags = (ctypes.c_ubyte * pages)()
        libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        if libc.mincore(ctypes.addressof(view), size, flags):
            raise OSError(ctypes.get_errno(), "mincore")
        resident = sum(flag & 1 for flag in flags)
        del view
    return resident * mmap.PAGESIZE


def touched_bytes(path: Path) -> int:
    """Return how much of a file this process has mapped and touched."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:  # the first line of a mapping: its addresses
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = expert_file(folder)
        size = path.stat().st_size
        drop_from_cache(path)
        pool = Pool.open(folder)
        opened = touched_bytes(path)
        total = sum(float(t.sum()) for index in PAIR for t in pool.state(index).values())
        touched, cached = touched_bytes(path), cached_bytes(path)
        pair = sum(t.nbytes for index in PAIR for t in pool.state(index).values())
        expected = sum(PAIR) * sum(a * b for a, b in PARAMETERS.values())
        assert total == expected, (total, expected)
    figures = {
        "file": size,
        "pair": pair,
        "opened": opened,
        "touched": touched,
        "cached": cached,
    }
    titles = {
        "file": "the file",
        "pair": "one pair of snapshots in it",
        "opened": "touched to open the pool",
        "touched": "touched when the pair is read",
        "cached": "in the page cache then, which was empty: the kernel reads ahead",
    }
    rows = [(title, f"{figures[name] / 1e6:.1f} MB") for name, title in titles.items()]
    write(
        "pool_reads",
        {"bytes": figures},
        rows,
        ["what", "size"],
        f"Touched to needed: {touched / pair:.3f}.",
    )


if __name__ == "__main__":
    main()

"""CIFAR-10 as it lies there: all of its parquet files, or some of those that it is trained on."""

import os
from pathlib import Path

from pyarrow import parquet

from benchmarks.device.parts import Bench
from ddkit.runtime.errors import DdkitError

TRAINED, TESTED = 50_000, 10_000
SMALL = {"train": 1000, "test": 200}


def folder_of(bench: Bench) -> Path:
    """Return a folder of this process, called as presets know it, whose files are all there are.

    Files are told by their names: those of a set in several parts say how many there should be,
    and ddkit refuses it where some are missing. Where all is small, their first images.

    Raises:
        DdkitError: there are no training files, or no test files.
    """
    folder = bench.folder / f"process-{os.getpid()}" / "cifar10"
    if folder.exists() or bench.data is None:
        return folder
    folder.mkdir(parents=True)
    for split, count in SMALL.items():
        files = sorted(bench.data.rglob(f"{split}*.parquet"))
        if not files:
            raise DdkitError(f"{bench.data} holds no {split}*.parquet: name a folder of CIFAR-10")
        if bench.small:
            table = parquet.read_table(files[0]).slice(0, count)
            parquet.write_table(table, folder / f"{split}.parquet")
            continue
        for number, file in enumerate(files):
            (folder / f"{split}-{number}.parquet").symlink_to(file.resolve())
    return folder

"""Images of the test split that are training images too: an accuracy on them is no test."""

from dataclasses import dataclass

import numpy as np

from ddkit.data.split import Split
from ddkit.runtime.progress import Progress, Silent


@dataclass(frozen=True)
class Repeated:
    """How many of the `tested` images are training images too; `same` says what was compared."""

    count: int
    tested: int
    same: str

    @property
    def sentence(self) -> str:
        return (
            f"{self.count:,} of {self.tested:,} test images are in the training split too "
            f"(the same {self.same})"
        )


def repeated(train: Split, test: Split, progress: Progress | None = None) -> Repeated:
    """Return how many test images are training images too, to the bit, by hashes of 8 bytes.

    What the cache keeps is hashed once. Where images of both splits are decoded on use, their files
    are compared, not their pixels: decoding all of them would take hours.
    """
    files = train.pixels.in_files and test.pixels.in_files
    known, tested = (
        split.pixels.hashes(progress or Silent(), files).numpy() for split in (train, test)
    )
    return Repeated(int(np.isin(tested, known).sum()), len(test), "files" if files else "pixels")

"""The digits that scikit-learn bundles: 1,797 grey images of 8x8 pixels, no download."""

import gzip
from functools import cache
from importlib.metadata import distribution

import numpy as np
import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources.tables import SplitName
from ddkit.data.split import Split


def digits(options: DataOptions, split: SplitName) -> Split:
    """Return the bundled digits, uint8 (N, 1, 8, 8): pixel values 0 … 16 become 0 … 255.

    The bundle is the test part of the UCI set and has no official split of its own. Ours is fixed,
    so that results compare: of each class every fifth image, in file order, is for testing.
    """
    table = _table()
    images = table[:, :-1].mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    labels = table[:, -1].long()
    tested = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        tested[(labels == label).nonzero()[4::5, 0]] = True
    whole = Split(images, labels, tuple("0123456789"), mirror=False)
    return whole.subset((tested if split == "test" else ~tested).nonzero()[:, 0])


@cache
def _table() -> torch.Tensor:
    """Return pixels and label of each image, float64 (N, 65)."""
    # the package takes seconds to import, this file of its own takes none
    path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    with gzip.open(str(path), "rt") as file:
        return torch.from_numpy(np.loadtxt(file, delimiter=","))

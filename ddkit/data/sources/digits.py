"""The digits that scikit-learn bundles: 1,797 grey images of 8x8 pixels, no download."""

from functools import cache

import torch
from torch import Tensor

from ddkit.data.options import DataOptions
from ddkit.data.sources.tables import SplitName
from ddkit.data.split import Split


def digits(options: DataOptions, split: SplitName) -> Split:
    """Return the bundled digits, uint8 (N, 1, 8, 8): pixel values 0 … 16 become 0 … 255.

    The bundle is the test part of the UCI set and has no official split of its own. Ours is fixed,
    so that results compare: of each class every fifth image, in file order, is for testing.
    """
    whole, tested = _bundle()
    return whole.subset((tested if split == "test" else ~tested).nonzero()[:, 0])


@cache  # it is a text file
def _bundle() -> tuple[Split, Tensor]:
    from sklearn.datasets import load_digits  # a second to import

    bundle = load_digits()
    images = torch.from_numpy(bundle.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(bundle.target).long()
    tested = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        tested[(labels == label).nonzero()[4::5, 0]] = True
    return Split(images, labels, tuple("0123456789"), mirror=False), tested

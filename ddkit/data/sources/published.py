"""The published data sets that torchvision downloads: MNIST, CIFAR, SVHN and their like."""

from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import torch
from filelock import FileLock

from ddkit.data.options import DataOptions
from ddkit.data.sources.tables import SplitName
from ddkit.data.split import Split
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.errors import DdkitError, cause
from ddkit.runtime.vision import torchvision


@dataclass(frozen=True)
class Published:
    """A data set of `torchvision.datasets`, as a data source.

    Attributes:
        dataset: the name of torchvision's class.
        mirror: whether a mirrored image keeps its class.
    """

    dataset: str
    mirror: bool

    def __call__(self, options: DataOptions, split: SplitName) -> Split:
        """Return the split, downloading it once. Raises `DdkitError` where that fails."""
        found = self._open(options.name, split)
        images = torch.as_tensor(found.data)
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[-1] == 3:
            images = images.permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(found.targets if hasattr(found, "targets") else found.labels)
        classes = getattr(found, "classes", None) or "0123456789"  # SVHN has no names
        return Split(images, labels.long(), tuple(classes), self.mirror)

    def _open(self, name: str, split: SplitName) -> Any:
        build = getattr(torchvision().datasets, self.dataset)
        part = (
            {"split": split} if self.dataset in ("SVHN", "STL10") else {"train": split == "train"}
        )
        root = cache_folder("data")
        try:
            return build(root, **part)
        except (RuntimeError, OSError):  # torchvision's way to say that it isn't there
            pass
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f"{self.dataset}.lock"):  # two runs would spoil each other's files
                return build(root, **part, download=True)
        except (RuntimeError, OSError, HTTPException) as error:
            raise DdkitError(
                f"'{name}' could not be downloaded to {root} ({cause(error)}): there is no "
                "network, or the host does not answer; a local folder works too: --data path"
            ) from error


mnist = Published("MNIST", mirror=False)
fashion_mnist = Published("FashionMNIST", mirror=True)
kmnist = Published("KMNIST", mirror=False)
cifar10 = Published("CIFAR10", mirror=True)
cifar100 = Published("CIFAR100", mirror=True)
svhn = Published("SVHN", mirror=False)
stl10 = Published("STL10", mirror=True)

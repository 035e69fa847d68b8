"""Images in one folder per class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ddkit.data.pixels.originals import Listing
from ddkit.data.sources.image_files import ImageFiles, by_ending, files_below, told
from ddkit.runtime.errors import DdkitError


@dataclass(frozen=True)
class ClassFolders:
    """The images of a split in one folder per class; those in folders within it belong to it."""

    root: Path

    @property
    def where(self) -> Path:
        return self.root

    @cached_property
    def classes(self) -> list[str]:
        """The names of the class folders, sorted as text."""
        return class_folders(self.root)

    def listing(self, classes: Sequence[str]) -> Listing:
        """Return the images of these classes. Raises `DdkitError` for a class without any."""
        found = [files_below(self.root, folder) for folder in classes]
        for folder, each in zip(classes, found, strict=True):
            if not each.images:
                held = f", but {by_ending(each.left_out)}" if each.left_out else ""
                raise DdkitError(f"the class folder {self.root / folder} holds no images{held}")
        loose = files_below(self.root, deep=False).images  # in no class
        left_out = sum((each.left_out for each in found), Counter[str]())
        left_out.update(Path(name.decode(errors="replace")).suffix.lower() for name in loose)
        counts = torch.tensor([len(each.images) for each in found])
        return Listing(
            ImageFiles(
                self.root,
                [each.images for each in found],
                ["files", str(self.root.resolve()), list(classes)],
            ),
            torch.arange(len(classes)).repeat_interleave(counts),
            tuple(classes),
            told(left_out, self.root),
        )


def class_folders(root: Path) -> list[str]:
    """Return the sorted names of the class folders under `root`, [] where it is not a folder."""
    if not root.is_dir():
        return []
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    for name in names:
        if any("\udc80" <= character <= "\udcff" for character in name):  # bytes that are no text
            raise DdkitError(f"the class folder {name!r} in {root} is not UTF-8: rename it")
    return names

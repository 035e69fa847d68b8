"""Data for tests: made up in no time, and watched by whom their test split is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

import pytest
import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.data.sources.names import DATA
from ddkit.data.sources.tables import SplitName
from ddkit.data.split import Split

MADE_UP = "made-up"
WATCHED = "watched"  # the name that a run under test knows its data by


def made_up_split(
    classes: int = 3, each: int = 8, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0
) -> Split:
    """Return noise, each class around a grey of its own, so that networks can learn it.

    Args:
        classes: at most ten.
        each: images per class.
        shape: (channels, height, width).
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(each)
    greys = (labels + 1) * (200 // (classes + 1))
    noise = torch.randint(56, (len(labels), *shape), generator=generator)
    images = (greys.view(-1, 1, 1, 1) + noise).to(torch.uint8)
    return Split(images, labels, tuple("abcdefghij"[:classes]))


@dataclass
class Watched:
    """A data source that notes every time its test split is asked for.

    Attributes:
        name: what `--data` takes, or `MADE_UP`.
        opened: how often the test split was asked for.
    """

    name: str
    opened: int = field(default=0, init=False)

    def __call__(self, options: DataOptions, split: SplitName) -> Split:
        self.opened += split == "test"
        if self.name == MADE_UP:
            return made_up_split(each=12, seed=int(split == "test"))
        return sources.load(options.model_copy(update={"name": self.name}), split)


@contextmanager
def watched(name: str) -> Iterator[Watched]:
    """Serve the data of `name` under the name `WATCHED` for the time of the block."""
    source = Watched(name)

    class Found(EntryPoint):
        def load(self) -> Watched:
            return source

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATA.builtins, WATCHED, Found(WATCHED, "ddkit.testing", DATA.group))
        yield source

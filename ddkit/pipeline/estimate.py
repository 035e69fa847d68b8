"""What a run will take, and what must be known of its data to say it."""

from collections.abc import Mapping
from dataclasses import dataclass

from ddkit.data.split import Split, check_classes


@dataclass(frozen=True)
class Data:
    """What a rehearsal has to know of the training data: how many images of which shape."""

    images: int
    classes: int
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        check_classes(self.classes, "the data set")

    @classmethod
    def of(cls, split: Split) -> "Data":
        return cls(len(split), len(split.classes), split.shape)


@dataclass(frozen=True)
class Labelled:
    """What the labels of a run take.

    Attributes:
        forms: bytes, by each form that soft labels may be stored in (`--labels-as`).
    """

    seconds: float
    bytes: int
    forms: Mapping[str, int]


@dataclass(frozen=True)
class Estimate:
    """What a run will take on this machine; the pools as if they had to be trained."""

    pool_seconds: float
    synthesis_seconds: float
    relabel_seconds: float
    peak_bytes: int
    pool_bytes: int
    image_bytes: int
    label_bytes: int

    @property
    def seconds(self) -> float:
        return self.pool_seconds + self.synthesis_seconds + self.relabel_seconds

    @property
    def disk_bytes(self) -> int:
        return self.pool_bytes + self.image_bytes + self.label_bytes

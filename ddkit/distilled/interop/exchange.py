"""What goes between ddkit and a layout: what the user says of a file, and the set itself."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ddkit.data.space import InputSpace
from ddkit.distilled.dataset import DistilledDataset
from ddkit.labels import EpochLabels, Labels, RegressionTargets, SoftLabels
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.images import as_pixels

PixelCheck = Callable[[Tensor, Path, Tensor | None], None]
"""Called with pixels, where they are from, and the inputs that they were made of, if they were."""

LabelKind = Literal["hard", "logits", "probabilities", "targets"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
CHUNK = 512  # images whose pixels are computed at once
FLOOR = 1e-30  # probabilities below it are stored as its logarithm; float32 holds it


@dataclass(frozen=True)
class Given:
    """What the user says of a file, because it does not; None where nothing was said.

    Attributes:
        classes: the names of the classes in the order of the file's labels.
        space: how the images of the file were made of pixels.
        labels: what numbers per class are.
        learning_rate, temperature: of training on the set.
        factor: of IDC's multi-formation.
        soft_labels: a folder of FKD labels.
        check: of pixels; None where they are trusted.
    """

    classes: tuple[str, ...] | None = None
    space: InputSpace | None = None
    labels: LabelKind | None = None
    learning_rate: float | None = None
    temperature: float | None = None
    factor: int | None = None
    soft_labels: Path | None = None
    check: PixelCheck | None = None

    def class_names(self, path: Path) -> tuple[str, ...]:
        if self.classes is None:
            raise missing(path, "the names of its classes", "--classes A,B,C, a file, or --data")
        return self.classes

    def input_space(self, path: Path) -> InputSpace:
        if self.space is None:
            raise missing(
                path,
                "how pixels became network inputs",
                "--mean and --std, --data, or --space unit if they are pixels in 0 to 1",
            )
        return self.space

    def pixels(self, inputs: Tensor, path: Path) -> Tensor:
        """Return the pixels, float32, of normalised or whitened images (N, channels, H, W)."""
        space = self.input_space(path)
        if space.zca is None and inputs.shape[1] != len(space.mean):
            raise DdkitError(
                f"{path} has images of {inputs.shape[1]} channels: --mean and --std need one "
                f"value for each, not {len(space.mean)}"
            )
        pixels = torch.cat([space.decode(part) for part in inputs.split(CHUNK)])
        return self.checked(pixels, path, inputs)

    def checked(self, pixels: Tensor, path: Path, inputs: Tensor | None = None) -> Tensor:
        """Return pixels; raises `DdkitError` where they can't be, if nobody says to trust them."""
        if self.check is not None:
            self.check(pixels, path, inputs)
        return pixels


@dataclass
class Imported:
    """A set as it was read; `importing.py` checks it and writes it.

    Attributes:
        images: (N, channels, H, W), uint8, or float32 in data space.
        classes: int64 (N,).
        labels: what a network is trained towards.
        class_names: in label order.
        learning_rate: of training on the set, where it is known.
        network: what it was made for, where the layout says it.
        factor: of multi-formation; `labels` are then those of the training images.
    """

    images: Tensor
    classes: Tensor
    labels: Labels
    class_names: tuple[str, ...]
    learning_rate: float | None = None
    network: str = "convnet"
    factor: int = 1


@dataclass
class Outgoing:
    """A set on its way into another layout, class by class.

    Attributes:
        labels: the kind of labels that was asked for, None where nothing was said.
        batch_size: of the training that FKD labels are for.
        notes: what the layout cannot hold exactly; the user reads them.
    """

    distilled: DistilledDataset
    labels: LabelKind | None = None
    batch_size: int | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def order(self) -> Tensor:
        """The rows, class by class: int64 (N,)."""
        return self.distilled.classes.argsort(stable=True)

    @property
    def classes(self) -> Tensor:
        return self.distilled.classes[self.order]

    @property
    def class_names(self) -> list[str]:
        return self.distilled.class_names

    @cached_property
    def pixels(self) -> Tensor:
        """The training images, float32 (N, channels, H, W) in data space."""
        if self.distilled.factor > 1:
            self.notes.append(
                f"each image of factor {self.distilled.factor} is written as the training images "
                "that it holds"
            )
        return self.distilled.pixels(self.order)

    @property
    def inputs(self) -> Tensor:
        """The images as the networks of the set see them, normalised or whitened."""
        space = self.distilled.space
        return torch.cat([space.encode(part) for part in self.pixels.split(CHUNK)])

    @property
    def is_hard(self) -> bool:
        """Whether classes are all that is written: there is nothing else, or it was asked for."""
        return self.labels == "hard" or self.distilled.labels.kind == "hard"

    def hard(self) -> Tensor:
        """Return the classes for a layout that holds nothing else."""
        if not self.is_hard:
            raise DdkitError(
                f"the format holds hard labels only, but {self.distilled.file.path} has "
                f"{self.distilled.labels.kind} ones: drop them with --labels hard"
            )
        return self.classes

    @property
    def has_targets(self) -> bool:
        """Whether regression targets can be written: the set's own, or those of its classes."""
        return self.is_hard or self.distilled.labels.kind == "targets"

    def targets(self) -> Tensor:
        """Return regression targets, float32 (N, classes), for a layout that holds nothing else."""
        distilled = self.distilled
        labels = distilled.labels
        if self.is_hard:
            labels = RegressionTargets.of_classes(distilled.classes, len(distilled.class_names))
        if not isinstance(labels, RegressionTargets):
            raise DdkitError(
                f"{distilled.file.path} has {labels.kind} labels, but the format holds targets of "
                "a regression: write those of its classes with --labels hard"
            )
        return labels.values[self.order]

    def soft(self, kind: LabelKind | None, *, recorded: bool = False) -> Tensor:
        """Return one vector per image, float32 (N, classes): logits or probabilities.

        Args:
            recorded: whether the layout says their temperature.
        """
        labels = self.distilled.labels
        if isinstance(labels, RegressionTargets):
            raise DdkitError(
                f"{self.distilled.file.path} has regression targets, but the format holds logits "
                "or probabilities: drop them with --labels hard, or use --format frepo or kip"
            )
        if not isinstance(labels, SoftLabels):
            raise DdkitError(
                f"{self.distilled.file.path} has labels for each epoch, but the format holds one "
                f"vector per image: {self.ways_out('image')}"
            )
        if kind not in ("logits", "probabilities"):
            raise DdkitError("give --labels logits or --labels probabilities: tools differ in this")
        if labels.temperature != 1 and not recorded:
            self.notes.append(f"the labels' temperature, {labels.temperature:g}, is not recorded")
        logits = labels.logits[self.order].float()
        return logits if kind == "logits" else logits.softmax(1)

    def bytes(self) -> Tensor:
        """Return the images as uint8 (N, channels, H, W), for files of pictures."""
        exact = as_bytes(self.pixels)
        if (as_pixels(exact) - self.pixels).abs().max() > 1e-6:
            self.notes.append("pixels are rounded to 256 values, and clipped to them")
        return exact

    def epochs(self) -> EpochLabels:
        """Return the labels for each epoch of a set that lies class by class."""
        labels = self.distilled.labels
        if not isinstance(labels, EpochLabels):
            raise DdkitError(
                f"{self.distilled.file.path} has {labels.kind} labels, but the format holds FKD "
                f"labels, one set for each epoch: {self.ways_out('epoch', 'mix=none')}"
            )
        if not torch.equal(self.order, torch.arange(len(self.order))):
            raise DdkitError(
                f"the images of {self.distilled.file.path} are not sorted by class, as FKD labels "
                "require: drop its labels with --labels hard"
            )
        return labels

    def ways_out(self, labels: Literal["image", "epoch"], *settings: str) -> str:
        """Return what to do about labels that the layout cannot hold: both ways, as typed."""
        path, config = self.distilled.file.path, self.distilled.metadata.get("config")
        hard = "drop them with --labels hard"
        if config is None:
            return f"{hard} (other labels need the data: `ddkit import --data NAME`)"
        stage = config.get("relabel_from") or config
        source = () if stage.get("plugin") == "teddy" else ("--relabel-from", "teddy")
        said = [part for each in (f"labels={labels}", *settings) for part in ("--set", each)]
        out = path.with_stem(f"{path.stem}-{labels}")
        command = shlex.join(["ddkit", "relabel", str(path), *source, *said, "-o", str(out)])
        return f"{hard}, or make others with `{command}`"


def missing(path: Path, what: str, flag: str) -> DdkitError:
    """Return the error for what a file does not record and the user did not say."""
    return DdkitError(f"{path} does not record {what}: give {flag}")


def as_bytes(pixels: Tensor) -> Tensor:
    """Return pixels of 0 … 1 as uint8, rounded and clipped."""
    return pixels.mul(255).round().clamp(0, 255).to(torch.uint8)


def tensors_line(folder: Path, *names: str) -> str:
    """Return the line of Python that reads images and labels of two files."""
    read = ", ".join(f"torch.load({str(folder / name)!r})" for name in names)
    return f"import torch; images, labels = {read}"

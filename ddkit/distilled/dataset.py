"""The artifact: a distilled set in one file that explains itself, and trains a network as it is."""

import io
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddkit.data.space import InputSpace
from ddkit.distilled.checking import check_images, check_set, part_names
from ddkit.labels import Labels, labels_from
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import TensorFile, replacing, write_tensors
from ddkit.synthesis.objective import Synthetic

if TYPE_CHECKING:
    from PIL.Image import Image

ARTIFACT = "distilled.safetensors"
FORMAT = "ddkit.distilled"
FORMAT_VERSION = 2  # 1: labels as tensors of float logits, their views stored
HEADER = ("format", "format_version", "value_range", "labels", "versions", "image_files")
PART_BYTES = 2**30  # images beyond this go into several files


class DistilledDataset(Dataset[tuple[Tensor, Tensor]]):
    """A distilled set. Item i is (network input float32 (channels, height, width), label).

    The label is an int64 class for hard labels, else float32 probabilities (classes,), so that
    `F.cross_entropy` takes either. Where labels were made for each epoch, set `epoch` before the
    epoch begins: image and label are then augmented alike.

    Attributes:
        classes: int64 (N,), the class of each image.
        labels: how a network is trained towards them.
        space: how pixels become network inputs (mean and std, or ZCA).
        learning_rate: the student's learned learning rate, or None.
        metadata: class names, resolved configuration, data fingerprint, versions.
        epoch: which epoch's augmentation and labels items have.
    """

    def __init__(self, file: TensorFile, pool: str | None = None):
        self.file = file
        self.pool = pool
        self.metadata: dict[str, Any] = file.metadata
        if not isinstance(self.metadata, dict) or self.metadata.get("format") != FORMAT:
            raise DdkitError(f"{file.path} is a file of ddkit, but no distilled set")
        version = self.metadata.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise DdkitError(f"{file.path} was written by a newer ddkit: update yours")
        check_set(file)
        self.epoch = 0
        self.classes = file["classes"]
        self.space = InputSpace.from_tensors(file.read())
        self.labels = labels_from(
            self.metadata["labels"]["kind"], file.read(), self.metadata["labels"], pool
        )
        rate = file.get("learning_rate")
        self.learning_rate = None if rate is None else float(rate)
        self.label_logits = file.get("label_logits")
        self._images = list(self._open_images())
        check_images(file, self._images)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def class_names(self) -> list[str]:
        return list(self.metadata["classes"])

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; raises `DdkitError` for a set that was imported without."""
        config: dict[str, Any] | None = self.metadata.get("config")
        if config is None:
            raise DdkitError(
                f"{self.file.path} does not say which data it was distilled from: import it again "
                "with --data"
            )
        return config

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self._images[0].shape[1:]
        return channels, height, width

    @property
    def image_bytes(self) -> int:
        return sum(part.nbytes for part in self._images)

    def pixels(self, rows: Tensor) -> Tensor:
        """Return the images at `rows` (int64), float32 (B, channels, height, width), data space."""
        if len(self._images) == 1:
            return as_pixels(self._images[0][rows])
        size = len(self._images[0])
        positions = (row % len(self) for row in rows.tolist())  # negative ones count from the end
        return torch.stack([as_pixels(self._images[at // size][at % size]) for at in positions])

    def inputs(self, rows: Tensor, epoch: int | None = None) -> tuple[Tensor, Tensor]:
        """Return (network inputs, targets) of `rows` as the labels want them in an epoch.

        Targets are int64 classes (B,) or float32 logits (B, classes).
        """
        epoch = self.epoch if epoch is None else epoch
        images, targets = self.labels.batch(self.pixels, rows, epoch)
        return self.space.encode(images), targets

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Fetch a batch at once; torch's DataLoader calls this."""
        inputs, targets = self.inputs(torch.as_tensor(indices))
        if targets.dtype != torch.int64:
            targets = torch.softmax(targets, dim=1)
        return list(zip(inputs, targets, strict=True))

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return (
            f"DistilledDataset({str(self.file.path)!r}): {len(self)} images of {shape}, "
            f"{len(self.class_names)} classes, labels: {self.labels.kind}"
        )

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows."""
        stream = io.BytesIO()
        self.show().save(stream, format="PNG")
        return stream.getvalue()

    def show(self, path: str | Path | None = None) -> "Image":
        """Return a picture of about 100 of the images at most, also written to `path` as PNG."""
        from ddkit.distilled import contact_sheet as sheets

        picture = sheets.preview(self)
        if path is not None:
            with replacing(Path(path)) as temporary:
                picture.save(temporary, format="PNG")
        return picture

    def __reduce__(self) -> tuple[Any, ...]:
        """Let worker processes open the file themselves: a mapped file cannot be pickled."""
        return _reopened, (self.file.path, self.epoch, self.pool)

    def synthetic(self) -> Synthetic:
        """Return the images without their labels, as `relabel` takes them."""
        images = torch.cat(self._images) if len(self._images) > 1 else self._images[0]
        return Synthetic(images, self.classes, self.learning_rate, self.label_logits)

    def _open_images(self) -> Iterable[Tensor]:
        if "images" in self.file:
            yield self.file["images"]
            return
        for name in part_names(self.file):
            yield TensorFile(self.file.path.with_name(name))["images"]


def as_pixels(images: Tensor) -> Tensor:
    """Return stored images as float32 in data space: uint8 0 … 255 becomes 0 … 1."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def load(path: str | Path, pool: str | Path | None = None) -> DistilledDataset:
    """Open a distilled set; images and labels are read from disk as they are needed.

    Args:
        path: the file, or the folder of a run.
        pool: where the pool lies that makes the labels of a recipe: its folder, or its name in the
            cache; None: in the cache, where it was. Its networks are run.

    Raises:
        DdkitError: the file is missing, truncated, or no distilled set of ddkit.
    """
    where = str(pool.absolute()) if isinstance(pool, Path) else pool
    return DistilledDataset(TensorFile(artifact_path(Path(path))), where)


def artifact_path(path: Path) -> Path:
    """Return the artifact that a run's folder, or a path to a file, stands for."""
    return path / ARTIFACT if path.is_dir() else path


def _reopened(path: Path, epoch: int, pool: str | None) -> DistilledDataset:
    distilled = load(path, pool)
    distilled.epoch = epoch
    return distilled


def stored(images: Tensor, how: str) -> Tensor:
    """Return images as the artifact stores them.

    Args:
        images: float32 in data space, or uint8.
        how: "uint8", "float16", "float32", or "auto": uint8 where all values are valid pixels,
            else float32, because methods that leave the range mean it.
    """
    if images.dtype == torch.uint8:
        return images
    if how == "auto":
        tolerance = 1e-3  # normalising and back rounds a little beyond 0 and 1
        valid = images.min() >= -tolerance and images.max() <= 1 + tolerance
        how = "uint8" if valid else "float32"
    if how == "uint8":
        return images.mul(255).round().clamp(0, 255).to(torch.uint8)
    return images.to(torch.float16 if how == "float16" else torch.float32)


def write_distilled(
    path: Path,
    images: Synthetic,
    labels: Labels,
    space: InputSpace,
    metadata: Mapping[str, Any],
    part_bytes: int = PART_BYTES,
) -> None:
    """Write an artifact, whole or not at all; image files of a large set come before their index.

    Args:
        images: already in the form in which they are stored.
        metadata: what only the run knows: classes, config, data fingerprint, network.
        part_bytes: images beyond this size go into several files beside `path`.
    """
    tensors = {"classes": images.classes, **space.to("cpu").tensors(), **labels.tensors()}
    if images.learning_rate is not None:
        tensors["learning_rate"] = torch.tensor(images.learning_rate, dtype=torch.float64)
    if images.label_logits is not None:
        tensors["label_logits"] = images.label_logits
    about = labels.about()
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION if about else 1,  # an older ddkit reads what it can
        "value_range": [images.images.min().item(), images.images.max().item()],
        "labels": {"kind": labels.kind, "temperature": labels.temperature, **about},
        "versions": versions(),
        **metadata,
    }
    rows = max(1, part_bytes // images.images[:1].nbytes)
    if len(images) <= rows:
        write_tensors(path, tensors | {"images": images.images}, header)
        return
    parts = images.images.split(rows)
    names = [
        f"{path.stem}-{n:05d}-of-{len(parts):05d}.safetensors" for n in range(1, len(parts) + 1)
    ]
    for name, part in zip(names, parts, strict=True):
        write_tensors(path.with_name(name), {"images": part}, {"format": "ddkit.images"})
    write_tensors(path, tensors, header | {"image_files": names})


def versions() -> dict[str, str]:
    """Return what results may depend on beside the configuration."""
    import ddkit

    return {
        "ddkit": ddkit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }

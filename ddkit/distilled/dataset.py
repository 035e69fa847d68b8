"""The artifact: a distilled set in one file that explains itself, and trains a network as it is."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddkit.data.formation import unpacked
from ddkit.data.space import InputSpace
from ddkit.distilled.checking import check_images, check_set, part_names
from ddkit.distilled.writing import FORMAT, FORMAT_VERSION
from ddkit.labels import RegressionTargets, labels_from
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import replacing
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.images import Synthetic, as_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

ARTIFACT = "distilled.safetensors"


class DistilledDataset(Dataset[tuple[Tensor, Tensor]]):
    """A distilled set. Item i is (network input float32 (channels, height, width), label).

    Items are training images. Under multi-formation each stored image holds factor² of them, which
    are cut out and enlarged when they are asked for; `stored` are the images as they lie there.

    The label is an int64 class for hard labels, else float32 probabilities (classes,), so that
    `F.cross_entropy` takes either; regression targets stay as they are, for `F.mse_loss`. Where
    labels were made for each epoch, set `epoch` before the epoch begins: image and label are then
    augmented alike.

    Attributes:
        classes: int64 (N,), the class of each training image.
        factor: of multi-formation; 1 where each stored image is a training image.
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
            raise DdkitError(f"{file.path} is a ddkit file, but not a distilled set")
        version = self.metadata.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise DdkitError(f"{file.path} was written by a newer ddkit: update yours")
        check_set(file)
        self.epoch = 0
        self.factor: int = self.metadata.get("factor", 1)
        self.classes = file["classes"].repeat_interleave(self.factor**2)
        self.space = InputSpace.from_tensors(file.read())
        self.labels = labels_from(
            self.metadata["labels"]["kind"],
            {**file.read(), "classes": self.classes},
            self.metadata["labels"],
            pool,
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

    @property
    def stored(self) -> "StoredImages":
        """The images as they are stored."""
        return StoredImages(self)

    def pixels(self, rows: Tensor) -> Tensor:
        """Return the images at `rows` (int64), float32 (B, channels, height, width), data space."""
        if self.factor == 1:
            return self._stored(rows)
        rows, parts = rows % len(self), self.factor**2  # negative ones count from the end
        needed, place = (rows // parts).unique(return_inverse=True)
        return unpacked(self._stored(needed), self.factor)[place * parts + rows % parts]

    def _stored(self, rows: Tensor) -> Tensor:
        if len(self._images) == 1:
            return as_pixels(self._images[0][rows])
        size, count = len(self._images[0]), len(self) // self.factor**2
        positions = (row % count for row in rows.tolist())  # negative ones count from the end
        return torch.stack([as_pixels(self._images[at // size][at % size]) for at in positions])

    def inputs(self, rows: Tensor, epoch: int | None = None) -> tuple[Tensor, Tensor]:
        """Return (network inputs, targets) of `rows` as the labels want them in an epoch.

        Targets are int64 classes (B,), or float32 logits or regression targets (B, classes).
        """
        epoch = self.epoch if epoch is None else epoch
        images, targets = self.labels.batch(self.pixels, rows, epoch)
        return self.space.encode(images), targets

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Fetch a batch at once; torch's DataLoader calls this."""
        inputs, targets = self.inputs(torch.as_tensor(indices))
        if targets.dtype != torch.int64 and not isinstance(self.labels, RegressionTargets):
            targets = torch.softmax(targets, dim=1)
        return list(zip(inputs, targets, strict=True))

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        held = f" in {len(self.stored)} stored ones" if self.factor > 1 else ""
        return (
            f"DistilledDataset({str(self.file.path)!r}): {len(self)} images of {shape}{held}, "
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

        picture = sheets.preview(self.stored)
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
        classes = self.stored.classes
        return Synthetic(images, classes, self.learning_rate, self.label_logits, self.factor)

    def _open_images(self) -> Iterable[Tensor]:
        if "images" in self.file:
            yield self.file["images"]
            return
        for name in part_names(self.file):
            yield TensorFile(self.file.path.with_name(name))["images"]


class StoredImages:
    """The images of a set as they are stored: what sheets show, and what is counted by --ipc."""

    def __init__(self, distilled: DistilledDataset):
        self._distilled = distilled
        self.class_names = distilled.class_names
        self.classes = distilled.classes[:: distilled.factor**2]
        self.shape = distilled.shape

    def __len__(self) -> int:
        return len(self.classes)

    def pixels(self, rows: Tensor) -> Tensor:
        """Return the stored images at `rows` (int64), float32 in data space."""
        return self._distilled._stored(rows)

    @property
    def count(self) -> str:
        """How many there are, in words, with the training images that they hold."""
        factor = self._distilled.factor
        held = f" of factor {factor} ({len(self._distilled)} training images)" if factor > 1 else ""
        return f"{len(self)}{held}"


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

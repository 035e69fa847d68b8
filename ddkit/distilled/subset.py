"""Some images of a finished set as a set of their own, with the labels that still hold for them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddkit.data.formation import parts_of
from ddkit.data.options import DataOptions
from ddkit.data.sources import selection
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.distilled.joining import training_images
from ddkit.distilled.merging import check_target, files_of, make_room
from ddkit.distilled.writing import HEADER, write_distilled
from ddkit.labels import EpochLabels, HardLabels, Labels, RegressionTargets, SoftLabels
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.settings import validated
from ddkit.synthesis.images import Synthetic


@dataclass(frozen=True)
class Wanted:
    """What is kept of a set; None: nothing was said.

    Attributes:
        ipc: the first so many images of each class, as they are stored.
        classes: their images alone; the others are none of the set's classes any more.
        indices: of the images, as they are stored; said alone.
        hard: whether other labels than the classes are left out.
    """

    ipc: int | None = None
    classes: Sequence[str] | None = None
    indices: Sequence[int] | None = None
    hard: bool = False


def subset(path: Path, out: Path, wanted: Wanted, *, overwrite: bool = False) -> Path:
    """Write some images of an artifact, with their labels, as one of its own, and return `out`.

    Augmentations that labels belong to are written down: drawn for fewer images they are others.

    Args:
        path: an artifact, or the folder of a run.
        out: a new file.
        overwrite: replace the distilled set that `out` holds, if it is not the one that is cut.

    Raises:
        DdkitError: there are no such images, or their labels need what is left out.
    """
    whole = load(path)
    if out.resolve() in files_of(whole):
        raise DdkitError(f"--out {out} would replace the set itself: name a new file")
    check_target(out, [], overwrite)
    names = [whole.class_names[index] for index in chosen_classes(whole, wanted.classes)]
    rows = chosen_rows(whole, wanted, names)
    training = parts_of(rows, whole.factor)
    labels = HardLabels(whole.classes) if wanted.hard else whole.labels
    if len(names) < len(whole.class_names):
        check_columns(whole, labels, out)
    cut = cut_labels(whole, labels, training, out)
    places = torch.full((len(whole.class_names),), -1)
    places[[whole.class_names.index(name) for name in names]] = torch.arange(len(names))
    images = whole.synthetic()
    logits = images.label_logits
    kept = Synthetic(
        images.images[rows],
        places[images.classes[rows]],
        images.learning_rate,
        None if logits is None else logits[training],
        whole.factor,
    )
    if isinstance(cut, HardLabels):
        cut = HardLabels(kept.classes.repeat_interleave(whole.factor**2))
    about = described(whole, kept, names)
    if overwrite:
        make_room(out)
    write_distilled(out, kept, cut, whole.space, about)
    return out


def chosen_classes(whole: DistilledDataset, wanted: Sequence[str] | None) -> list[int]:
    """Return the indices of the classes that are kept, in the order of the set."""
    if wanted is None:
        return list(range(len(whole.class_names)))
    indices = selection.class_indices(whole.class_names, tuple(wanted))
    if len(indices) < 2:
        raise DdkitError("--classes: one class alone teaches a network nothing; name two or more")
    return sorted(indices)


def chosen_rows(whole: DistilledDataset, wanted: Wanted, names: Sequence[str]) -> Tensor:
    """Return the rows of the images that are kept, as they are stored: int64 (n,)."""
    path, classes = whole.file.path, whole.stored.classes
    count = len(classes)
    if wanted.indices is not None:
        if wanted.ipc is not None or wanted.classes is not None:
            raise DdkitError("--indices says which images are kept: leave out --ipc and --classes")
        rows = sorted(wanted.indices)
        if not rows or len(set(rows)) < len(rows) or not 0 <= rows[0] <= rows[-1] < count:
            raise DdkitError(
                f"--indices: name each image of {path} only once, from 0 to {count - 1}"
            )
        return torch.tensor(rows)
    if wanted.ipc is None and wanted.classes is None:
        raise DdkitError("say what to keep: --ipc N, --classes A,B or --indices 0,5,10-19")
    parts = []
    for name in names:
        own = (classes == whole.class_names.index(name)).nonzero().flatten()
        ipc = len(own) if wanted.ipc is None else wanted.ipc
        if not 0 < ipc <= len(own):
            raise DdkitError(f"--ipc {ipc}: {path} has {len(own)} images of class '{name}'")
        parts.append(own[:ipc])
    return torch.cat(parts).sort().values


def check_columns(whole: DistilledDataset, labels: Labels, out: Path) -> None:
    """Raise `DdkitError` for labels that say something of classes that are left out."""
    if whole.label_logits is not None:
        raise DdkitError(f"{whole.file.path} learned labels over all of its classes: keep them all")
    if not isinstance(labels, HardLabels):
        raise DdkitError(
            f"the labels of {whole.file.path} are over all of its classes, and would differ over "
            f"some of them: {way_out(out)}"
        )


def cut_labels(whole: DistilledDataset, labels: Labels, rows: Tensor, out: Path) -> Labels:
    """Return labels of some training images; raises `DdkitError` where they need the others."""
    if isinstance(labels, HardLabels):
        return HardLabels(labels.classes[rows])
    if isinstance(labels, SoftLabels):
        return SoftLabels(labels.logits[rows], labels.temperature)
    if isinstance(labels, RegressionTargets):
        return RegressionTargets(labels.values[rows])
    if not isinstance(labels, EpochLabels):
        raise DdkitError(
            f"the labels of {whole.file.path} are a {labels.kind}, drawn for all of its images: "
            f"{way_out(out)}"
        )
    every = torch.arange(labels.epochs)[:, None] * labels.count + rows
    views = labels.written_down().rows(every.flatten())
    places = torch.full((labels.count,), -1)
    places[rows] = torch.arange(len(rows))
    partner = places[views.partner]
    if (partner < 0).any():
        raise DdkitError(
            f"the labels of {whole.file.path} are of images that {views.mix} mixes with others, "
            f"which would be left out: {way_out(out)}"
        )
    return EpochLabels(labels.logits[:, rows], replace(views, partner=partner), labels.temperature)


def way_out(out: Path) -> str:
    """Return what to do about labels that cannot be cut."""
    labelled = out.with_stem(f"{out.stem}-labelled")
    command = shlex.join(["ddkit", "relabel", str(out), "-o", str(labelled)])
    return f"drop them with --labels hard, and then label the images with `{command}`"


def described(whole: DistilledDataset, kept: Synthetic, names: list[str]) -> dict[str, Any]:
    """Return what the smaller artifact says of itself."""
    about = {name: said for name, said in whole.metadata.items() if name not in HEADER}
    about |= {"classes": names, "cut_from": {"images": len(whole.stored)}}
    if about.get("config") is None:
        return about
    config = whole.config | {"ipc": int(kept.classes.bincount().max())}
    if len(names) < len(whole.class_names):
        data = validated(DataOptions, config["data"], "the data set")
        if training_images(data, config["pool_seed"]).fingerprint != about["data_fingerprint"]:
            raise DdkitError(
                f"the data '{data.name}' are not those that {whole.file.path} was distilled from, "
                "so the images of some classes cannot be found: put the data back where they were"
            )
        data = data.model_copy(update={"classes": tuple(names)})
        about["data_fingerprint"] = training_images(data, config["pool_seed"]).fingerprint
        config["data"] = data.model_dump(mode="json")
    return about | {"config": config}

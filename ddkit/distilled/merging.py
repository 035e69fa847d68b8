"""Finished sets of the same data become one set; those that don't belong together are refused."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddkit.data.augmentation.views import Views
from ddkit.data.classes import reordered
from ddkit.data.formation import parts_of
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.distilled.joining import align, are_apart
from ddkit.distilled.merged_labels import LABELS, placed, promoted
from ddkit.distilled.writing import write_distilled
from ddkit.labels import DrawnViews, EpochLabels, Labels
from ddkit.labels.codecs import codec_named
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.images import Synthetic, as_pixels

CHUNK = 256  # images that are compared at once
SHARED = ("classes", "mirror", "protocol", "data_fingerprint", "network")  # the first one's stay

SAME_DATA = "distil both from the same data with the same flags"
SAME_FACTOR = "distil both with the same --factor"
SAME_SPACE = "distil both with the same --space, and the same --pool if it is an imported one"
SAME_MIRROR = "distil both with --flip, or both with --no-flip"
SAME_LABELS = "`ddkit relabel` gives one of them labels like the other's"
ALL_OR_NONE = "leave one of them out"


class Trait(NamedTuple):
    """What all parts of a merged set must share, and what to do where they don't."""

    name: str
    value: Any
    advice: str


def merge(paths: Sequence[Path], out: Path, *, overwrite: bool = False) -> Path:
    """Write the images and labels of several artifacts of the same data as one, and return `out`.

    The merged set is class-major; within a class the images of the first file come first. Its
    configuration is the first file's with the sum of all ipc. Sets of disjoint classes, chosen by
    --classes of the same data, become one of all these classes, in the order of the data.

    Args:
        paths: two or more artifacts, or folders of runs.
        out: a new file.
        overwrite: replace the distilled set that `out` holds, if it is none of the merged ones.

    Raises:
        DdkitError: the sets don't belong together, repeat images, or `out` must not be written.
    """
    if len(paths) < 2:
        raise DdkitError(f"a merge needs two or more distilled sets, got {len(paths)}")
    parts = [load(path) for path in paths]
    check_target(out, parts, overwrite)
    for part in parts:
        check_balance(part)
        check_stored(part)
    about = described(parts)
    if are_apart(parts):
        align(parts)
        about |= {name: parts[0].metadata[name] for name in (*SHARED, "config")}
    check_parts(parts)
    slots = slots_of(parts)
    training = [parts_of(each, parts[0].factor) for each in slots]
    images, labels = merged_images(parts, slots), LABELS[parts[0].labels.kind](parts, training)
    if overwrite:
        make_room(out)
    write_distilled(out, images, labels, parts[0].space, about)
    return out


def check_target(out: Path, parts: Sequence[DistilledDataset], overwrite: bool) -> None:
    """Raise `DdkitError` where `out` exists, unless it is a set that may be overwritten."""
    if out.is_dir():
        raise DdkitError(f"--out {out} is a folder: name a file")
    if not out.exists():
        return
    if not overwrite:
        raise DdkitError(f"--out {out} already exists: name a new file, or use --overwrite")
    try:
        replaced = set(files_of(load(out)))
    except DdkitError as error:
        raise DdkitError(
            f"--out {out} is not a complete distilled set, and --overwrite replaces nothing else: "
            "name a new file"
        ) from error
    for part in parts:
        if replaced.intersection(files_of(part)):
            raise DdkitError(
                f"--out {out} would replace {part.file.path}, which is merged: name a new file"
            )


def check_parts(parts: Sequence[DistilledDataset]) -> None:
    """Raise `DdkitError` for parts that differ, or repeat images."""
    for one, other in combinations(parts, 2):
        if one.file.path.resolve() == other.file.path.resolve():
            raise DdkitError(
                f"{one.file.path} and {other.file.path} are the same file: name it once"
            )
    for part in parts[1:]:
        check_traits(parts[0], part)
    contents = [digests(part) for part in parts]
    for (one, these), (other, those) in combinations(zip(parts, contents, strict=True), 2):
        if these <= those or those <= these:
            inner, outer = (one, other) if these <= those else (other, one)
            raise DdkitError(
                f"all images of {inner.file.path} are in {outer.file.path} too, and would only be "
                f"repeated: leave {inner.file.path} out"
            )


def check_balance(part: DistilledDataset) -> None:
    """Raise `DdkitError` unless a set has as many images of each class as its run was to make."""
    ipc = part.config["ipc"]
    counts = torch.bincount(part.stored.classes, minlength=len(part.class_names)).tolist()
    for name, count in zip(part.class_names, counts, strict=True):
        if count != ipc:
            raise DdkitError(
                f"{part.file.path} holds {count} images of class '{name}', but its configuration "
                f"says ipc {ipc}: distil it again"
            )


def check_stored(part: DistilledDataset) -> None:
    """Raise `DdkitError` for labels that are made while training, of the set as it is."""
    if part.labels.kind not in LABELS:
        raise DdkitError(
            f"the labels of {part.file.path} are a {part.labels.kind}, which draws them for the "
            "set as it is: store them first with `ddkit relabel --labels-as fp16`"
        )


def check_traits(one: DistilledDataset, other: DistilledDataset) -> None:
    """Raise `DdkitError` for the first trait in which two sets differ."""
    moved = reordered(one.class_names, other.class_names)
    if moved:
        raise DdkitError(
            f"{one.file.path} and {other.file.path} have the same classes in another order: "
            f"{moved}; distil both with the same --classes"
        )
    # strict, for where one has more traits than the other, they differ in one that comes before
    for mine, theirs in zip(traits(one), traits(other), strict=True):
        if mine.value != theirs.value:
            raise DdkitError(
                f"{one.file.path} and {other.file.path} differ in {mine.name}: "
                f"{mine.value} and {theirs.value}; {mine.advice}"
            )


def traits(part: DistilledDataset) -> Iterator[Trait]:
    """Yield what all parts of a merged set must share, the most telling first."""
    yield Trait("the number of classes", len(part.class_names), SAME_DATA)
    for index, name in enumerate(part.class_names):
        yield Trait(f"the name of class {index}", f"'{name}'", SAME_DATA)
    yield Trait("the shape of images", part.shape, SAME_DATA)
    yield Trait("the factor of multi-formation", part.factor, SAME_FACTOR)
    yield Trait("the fingerprint of their data", part.metadata["data_fingerprint"], SAME_DATA)
    yield Trait("whether images are mirrored", yes(part.metadata["mirror"]), SAME_MIRROR)
    yield Trait("input space", f"{part.space.kind} {part.space.fingerprint()}", SAME_SPACE)
    yield Trait("the kind of labels", part.labels.kind, SAME_LABELS)
    yield Trait("the form of labels", coded_as(part.labels), SAME_LABELS)
    yield Trait("the temperature of labels", part.labels.temperature, SAME_LABELS)
    if isinstance(part.labels, EpochLabels):
        yield Trait("the number of labelled epochs", part.labels.epochs, SAME_LABELS)
        views = part.labels.views
        yield Trait("how labelled images are mixed", views.mix, SAME_LABELS)
        yield Trait("how many strips they are shuffled in", strips_of(views), SAME_LABELS)
    yield Trait("having a learned rate", yes(part.learning_rate is not None), ALL_OR_NONE)
    yield Trait("having learned labels", yes(part.label_logits is not None), ALL_OR_NONE)


def strips_of(views: Views | DrawnViews) -> int:
    """Return into how many strips views cut an image along each side."""
    if isinstance(views, DrawnViews):
        return views.strips
    return 1 if views.strips is None else views.strips.shape[2]


def coded_as(labels: Labels) -> str:
    """Return the form of coded labels; plain ones may differ, and become the more exact."""
    return labels.form if codec_named(labels.form) is not None else "numbers"


def yes(value: bool) -> str:
    """Return what a refusal says."""
    return "yes" if value else "no"


def digests(part: DistilledDataset) -> set[bytes]:
    """Return a hash of the pixels of each image, whatever form they are stored in."""
    return {
        hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest()
        for rows in torch.arange(len(part.stored)).split(CHUNK)
        for image in part.stored.pixels(rows)
    }


def slots_of(parts: Sequence[DistilledDataset]) -> list[Tensor]:
    """Return where the images of each part go in the merged set: int64 (n,) per part."""
    classes = [part.stored.classes for part in parts]
    order = torch.cat(classes).argsort(stable=True)  # stable: the first file's images stay first
    return list(order.argsort().split([len(each) for each in classes]))


def merged_images(parts: Sequence[DistilledDataset], slots: Sequence[Tensor]) -> Synthetic:
    """Return all images with what was learned beside them; bytes become floats beside floats."""
    sets = [part.synthetic() for part in parts]
    pieces = [each.images for each in sets]
    dtype = promoted(pieces)
    if dtype != torch.uint8:
        pieces = [as_pixels(piece).to(dtype) for piece in pieces]
    rates = [each.learning_rate for each in sets if each.learning_rate is not None]
    logits = [each.label_logits for each in sets if each.label_logits is not None]
    return Synthetic(
        placed(pieces, slots),
        placed([each.classes for each in sets], slots),
        fmean(rates) if rates else None,
        placed(logits, [parts_of(each, sets[0].factor) for each in slots]) if logits else None,
        sets[0].factor,
    )


def described(parts: Sequence[DistilledDataset]) -> dict[str, Any]:
    """Return what the merged artifact says about itself; parts of parts are listed one by one."""
    about = [part.metadata for part in parts]
    ipc = sum(each["config"]["ipc"] for each in about)
    return {
        **{name: about[0][name] for name in SHARED},
        "config": about[0]["config"] | {"ipc": ipc},
        "merged": [config for each in about for config in each.get("merged", [each["config"]])],
    }


def files_of(distilled: DistilledDataset) -> list[Path]:
    """Return the files that a set lies in, its index first."""
    path = distilled.file.path
    names = distilled.metadata.get("image_files", [])
    return [file.resolve() for file in (path, *(path.with_name(Path(name).name) for name in names))]


def make_room(out: Path) -> None:
    """Remove a set of several files, its index first: it must never name images of another set.

    A single file stays until the new one replaces it.
    """
    files = files_of(load(out)) if out.exists() else []
    if len(files) > 1:
        for file in files:
            file.unlink(missing_ok=True)

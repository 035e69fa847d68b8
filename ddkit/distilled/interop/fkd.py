"""FKD's soft labels (Shen and Xing 2022): logits of the crops that a teacher saw, batch by batch.

`epoch_{e}/batch_{b}.tar` is `torch.save` of [crops (B, 4), flips (B,), partner of each row, its
weight, its box, logits (B, classes)]. Whose crop a row is stands nowhere: the sampler was a
`RandomSampler` with a generator of seed 42 over the files of an ImageFolder, and is run again here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import RandomSampler

from ddkit.data.augmentation.views import Mix, Views
from ddkit.distilled.interop.exchange import Given, missing
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import vectors_of, wrong
from ddkit.labels import EpochLabels, joined
from ddkit.labels.coded import decoded
from ddkit.runtime.errors import DdkitError

SEED = 42


@dataclass(frozen=True)
class Batch:
    """One batch: the views of its rows, with partners counted in the batch, and their logits."""

    views: Views
    logits: Tensor

    def __len__(self) -> int:
        return len(self.logits)


def read(
    folder: Path,
    images: int,
    classes: int,
    size: tuple[int, int],
    given: Given,
    files: UntrustedFiles,
) -> EpochLabels:
    """Return the labels of all epochs in `folder`, image by image.

    Args:
        size: (height, width) of the images, which boxes are pixels of.

    Raises:
        DdkitError: no temperature was given, or batches are missing, damaged or of other images.
    """
    if given.temperature is None:
        raise missing(folder, "the temperature", "--temperature, which is 20 for SRe2L on ImageNet")
    epochs = numbered(folder, r"epoch_(\d+)")
    logits, views = [], []
    for epoch, order in zip(epochs, orders(images, len(epochs)), strict=True):
        batches = [
            read_batch(path, classes, size, files) for path in numbered(epoch, r"batch_(\d+)\.tar")
        ]
        rows = sum(map(len, batches))
        if rows != images:
            raise DdkitError(
                f"{epoch} has labels of {rows} images, but the set has {images}: name the folder "
                "that was made for this set"
            )
        placed = placed_by(order, batches, epoch)
        views.append(placed.views)
        logits.append(placed.logits)
    return EpochLabels(torch.stack(logits), joined(views), given.temperature)


def orders(images: int, epochs: int) -> list[Tensor]:
    """Return the order of the images in each epoch, as FKD's loader draws it."""
    sampler = RandomSampler(range(images), generator=torch.Generator().manual_seed(SEED))
    return [torch.tensor(list(sampler)) for _ in range(epochs)]


def numbered(folder: Path, name: str) -> list[Path]:
    """Return what in `folder` is called `name`, by number; refuses to leave any out."""
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(name, path.name))
    }
    if not found or sorted(found) != list(range(len(found))):
        what = name.split("_")[0]
        raise DdkitError(
            f"{folder} holds {len(found)} numbered {what} entries, which must be 0, 1, 2 and so "
            "on: name a complete folder of FKD labels"
        )
    return [found[number] for number in sorted(found)]


def read_batch(path: Path, classes: int, size: tuple[int, int], files: UntrustedFiles) -> Batch:
    """Return one batch; refuses what is not six entries that fit each other and the images."""
    saved = files.torch(path)
    if not isinstance(saved, list) or len(saved) != 6 or not isinstance(saved[5], Tensor):
        raise wrong(path, "is not a batch of FKD labels, a list of six")
    crops, flips, partner, weight, box, values = saved
    count = len(values)
    logits = vectors_of(values, (count, classes), path)
    crop = vectors_of(crops, (count, 4), path).float()
    if not count or not isinstance(flips, Tensor) or flips.shape != (count,):
        raise wrong(path, "has no flip for each image")
    mix: Mix = "none" if partner is None else "mixup" if box is None else "cutmix"
    own = torch.arange(count)
    if mix == "none":
        partner, weight, pixels = own, 1.0, [0, 0, 0, 0]
    else:
        check_mixed(partner, weight, count, path)
        pixels = box_of(box, size, path) if mix == "cutmix" else [0, 0, 0, 0]
    views = Views(
        crop,
        flips.bool(),
        partner.long(),
        torch.tensor(pixels).expand(count, 4),
        torch.full((count,), float(weight)),
        mix,
    )
    return Batch(views, logits)


def check_mixed(partner: Any, weight: Any, count: int, path: Path) -> None:
    """Refuse partners that are not rows of the batch, and a weight outside 0 to 1."""
    if not isinstance(partner, Tensor) or partner.is_floating_point():
        raise wrong(path, "has no whole numbers as partners")
    if partner.shape != (count,) or int(partner.min()) < 0 or int(partner.max()) >= count:
        raise wrong(path, "has partners that are not in the batch")
    if not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise wrong(path, "has no weight from 0 to 1")


def box_of(box: Any, size: tuple[int, int], path: Path) -> list[int]:
    """Return [top, left, bottom, right]: the tools cut rows with the first and third number."""
    try:
        top, left, bottom, right = (int(edge) for edge in box)
    except (TypeError, ValueError) as error:
        raise wrong(path, "has no box of four whole numbers") from error
    if not (0 <= top <= bottom <= size[0] and 0 <= left <= right <= size[1]):
        raise wrong(path, f"has a box beyond images of {size[0]}x{size[1]}")
    return [top, left, bottom, right]


def placed_by(order: Tensor, batches: Sequence[Batch], epoch: Path) -> Batch:
    """Return an epoch as one batch in which row i is image i, and partners are images."""
    if len({batch.views.mix for batch in batches}) > 1:
        raise wrong(epoch, "mixes images in several ways")
    starts = torch.tensor([0, *map(len, batches)]).cumsum(0).tolist()
    partners = [
        order[batch.views.partner + start] for batch, start in zip(batches, starts, strict=False)
    ]
    views = joined([batch.views for batch in batches])
    back = order.argsort()
    views = Views(
        views.crop, views.flip, torch.cat(partners), views.box, views.weight, views.mix
    ).rows(back)
    return Batch(views, torch.cat([batch.logits for batch in batches])[back])


def batched(labels: EpochLabels, size: int | None, ways_out: str) -> list[list[Batch]]:
    """Return labels for each epoch as FKD's batches, in the order of its loader.

    Args:
        ways_out: what to do about labels that do not go into them.

    Raises:
        DdkitError: no batch size was given, or the labels were not made in such batches: FKD has
            one box and one weight for a batch, and partners in it.
    """
    if size is None:
        raise DdkitError("give --batch-size: FKD labels belong to batches of one size")
    epochs = []
    for epoch, order in enumerate(orders(labels.logits.shape[1], labels.epochs)):
        views, logits = labels.views_of(epoch), decoded(labels.logits[epoch])
        batches = [_batch(views, logits, rows) for rows in order.split(size)]
        if None in batches:
            raise DdkitError(
                "these labels were not made in FKD's batches of this size, which share one box: "
                f"give the --batch-size that they were made with; else {ways_out}"
            )
        epochs.append([batch for batch in batches if batch is not None])
    return epochs


def _batch(views: Views, logits: Tensor, rows: Tensor) -> Batch | None:
    """Return the labels of some rows as one batch; None where they share no box."""
    own = views.rows(rows)
    place = torch.full((len(logits),), -1)
    place[rows] = torch.arange(len(rows))
    partner = place[own.partner]
    alike = (own.box == own.box[:1]).all() and (own.weight == own.weight[:1]).all()
    if not alike or (partner < 0).any() or own.strips is not None:
        return None
    return Batch(Views(own.crop, own.flip, partner, own.box, own.weight, own.mix), logits[rows])


def write(epochs: Sequence[Sequence[Batch]], folder: Path) -> None:
    """Write batches as FKD does."""
    for epoch, batches in enumerate(epochs):
        place = folder / f"epoch_{epoch}"
        place.mkdir(parents=True)
        for number, batch in enumerate(batches):
            torch.save(saved(batch), place / f"batch_{number}.tar")


def saved(batch: Batch) -> list[Any]:
    """Return the six entries of a batch."""
    views = batch.views
    plain = views.mix == "none"
    return [
        views.crop.clone(),
        views.flip.clone(),
        None if plain else views.partner,
        None if plain else float(views.weight[0]),
        views.box[0].tolist() if views.mix == "cutmix" else None,
        batch.logits.clone(),
    ]

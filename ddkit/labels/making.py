"""Labels made: by the method of a run, in the form it asks for; and epoch by epoch, with resume.

Labels of all epochs take hours for a large set: they are saved on the way, resumed, stopped.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ddkit.config import RECIPE
from ddkit.data.augmentation.views import Mix, Views, render
from ddkit.labels import DrawnViews, Ensemble, EpochLabels, RecipeLabels
from ddkit.labels.recipe import Average, averaged_logits
from ddkit.networks.norms import batch_statistics
from ddkit.pools.pool import Pool
from ddkit.run import Run
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import Stopped, stop_requested
from ddkit.runtime.moving import sent
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.synthesis.images import Synthetic, as_pixels

Statistics = Literal["running", "batch"]
LABEL_BATCH = 256  # images that are labelled at once
SAVE_SECONDS = 60.0


@torch.no_grad()
def logits_of(
    label: Callable[[Tensor], Tensor], run: Run, images: Synthetic, batch: int = 2 * LABEL_BATCH
) -> Tensor:
    """Return what `label` (inputs → logits) says of images as they are: (N, classes), on the CPU.

    They are sent and labelled `batch` at a time, and read once.
    """
    parts = as_pixels(images.images).split(batch)
    return torch.cat([label(run.space.encode(sent(part, run.device))) for part in parts]).cpu()


def label_epochs(
    run: Run,
    images: Synthetic,
    pool: Pool,
    members: Sequence[int],
    *,
    epochs: int,
    scale: tuple[float, float],
    mix: Mix,
    how: Average,
    temperature: float,
    strips: int = 1,
    weights: Sequence[float] | None = None,
    statistics: Statistics = "running",
    batch: int = 16,
) -> EpochLabels | RecipeLabels:
    """Label a new augmentation of every image for each epoch: random resized crop, flip, mix.

    Augmentations and partners are drawn per image, over the whole set. Goes on where an earlier
    try was stopped or killed. A run that asks for a recipe gets that, and nothing is labelled.

    Args:
        run: of the relabel stage; what is saved on the way lies in its folder.
        images: what is labelled.
        pool, members: who labels.
        epochs: how many epochs are labelled.
        scale, mix, strips: of the augmentations, as for `draw_views`; flips are the data's.
        how: what is averaged over the members.
        temperature: of the loss that these labels are for.
        weights: how much each member counts, summing to 1; None: all alike.
        statistics: what batch norms of members normalise with. "batch": the statistics of the
            images that are labelled together (SRe2L++, CV-DD); these are drawn anew in each epoch.
        batch: how many those are at most, 2 or more: all batches are as large, but for one image,
            and none is of a single one.

    Raises:
        DdkitError: a recipe is asked for, but it knows no weights and no batches of labels.
    """
    height, width = images.images.shape[-2:]
    views = DrawnViews(
        run.config.seed,
        len(images),
        (height, width),
        scale,
        run.train.mirror,
        mix,
        strips=strips,
    )
    ensemble = Ensemble.of(pool, members, how)
    if run.config.labels_as == RECIPE:
        if weights is not None or statistics == "batch":
            raise DdkitError(
                "--labels-as recipe: a recipe labels with members that count alike, and each image "
                "by itself; choose int8 or another form"
            )
        where = str(pool.folder.absolute())
        return RecipeLabels(ensemble, views, epochs, run.space, temperature, where)
    networks = ensemble.networks(pool)
    pixels = sent(as_pixels(images.images), run.device)
    rows = torch.arange(len(images), device=run.device)

    def labelled(seen: Views, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(
            [
                averaged_logits(
                    networks, run.space.encode(render(pixels, seen, part)), how, weights
                )
                for part in parts
            ]
        )

    def label(epoch: int) -> Tensor:
        seen = views.of(epoch).to(run.device)
        if statistics == "running":
            return labelled(seen, rows.split(LABEL_BATCH)).half().cpu()
        order = torch.randperm(len(rows), generator=run.generator("labelled batches", epoch))
        count = max(1, min(-(-len(rows) // batch), len(rows) // 2))
        parts = sent(order, run.device).tensor_split(count)
        with batch_statistics(networks):
            logits = labelled(seen, parts).half().cpu()
        return torch.empty_like(logits).index_copy_(0, order, logits)

    return EpochLabels(each_epoch(run, images, epochs, label), views, temperature)


def each_epoch(run: Run, images: Synthetic, epochs: int, label: Callable[[int], Tensor]) -> Tensor:
    """Return `label` of every epoch, stacked, going on from what was saved on the way."""
    folder = _folder(run, images)
    logits = [TensorFile(path)["logits"] for path in sorted(folder.glob("epochs-*.safetensors"))]
    done = sum(map(len, logits))
    fresh: list[Tensor] = []
    saved = time.monotonic()
    with run.progress.task("labels", epochs, done) as task:
        for epoch in range(done, epochs):
            fresh.append(label(epoch))
            task.advance()
            stop = stop_requested() and epoch + 1 < epochs
            if stop or time.monotonic() - saved > SAVE_SECONDS:
                logits.append(torch.stack(fresh))
                fresh.clear()
                path = folder / f"epochs-{epoch + 1:05d}.safetensors"
                write_tensors(path, {"logits": logits[-1]})
                saved = time.monotonic()
            if stop:
                raise Stopped
    return torch.cat([*logits, torch.stack(fresh)] if fresh else logits)


def forget_saved(run: Run, images: Synthetic) -> None:
    """Remove what was saved on the way, once the labels are in an artifact."""
    shutil.rmtree(_folder(run, images), ignore_errors=True)


def _folder(run: Run, images: Synthetic) -> Path:
    """Return a folder for these options and these images: others must not be mixed in."""
    pixels = hashlib.blake2b(images.images.contiguous().numpy().data, digest_size=8).hexdigest()
    key = stable_hash([run.config.model_dump(mode="json"), run.train.fingerprint, pixels])
    return run.folder / f".labels-{key}"

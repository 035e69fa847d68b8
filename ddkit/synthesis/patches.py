"""Patches of real images that networks recognise best (RDED, Sun et al., CVPR 2024)."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit.data.augmentation.augment import draw_tries
from ddkit.data.pixels.base import CropShape
from ddkit.data.pixels.crops import random_crops
from ddkit.pools.pool import Pool
from ddkit.run import Run
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import check_stop
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.synthesis.collage import collages
from ddkit.synthesis.initial import shuffled

PATCH_BATCH = 256  # patches that networks look at, at once
Losses = Callable[[Tensor, int], Tensor]
"""Network inputs (n, channels, H, W) and a class → the cross-entropy (n,) of each for it."""


class PatchSettings(Protocol):
    """How patches are cut out and chosen: what `PatchOptions` says, whose help explains it."""

    candidates: int
    crops: int
    patch_scale: float

    def patches_along(self, shape: tuple[int, ...]) -> int:
        """Return how many patches an image (channels, height, width) holds along each side."""


def patch_collages(run: Run, label: int, losses: Losses) -> Tensor:
    """Return the images of a class put together of its best patches.

    Args:
        run: whose options are `PatchSettings`.
        losses: who recognises patches, and how well.

    Returns:
        uint8 (ipc, channels, height, width), on the CPU.
    """
    options: PatchSettings = run.options
    along = options.patches_along(run.shape)
    patches = best_patches(run, label, run.ipc * along**2, losses)
    return collages(patches, run.ipc, along, (run.shape[1], run.shape[2]))


def patch_inputs(run: Run, slots: Tensor, losses: Losses) -> Tensor:
    """Return what is put together of patches for slots (int64), network inputs on the CPU.

    The images of a class are written down once, in the run's folder: other shards and phases need
    them, and a run that was stopped goes on from them.
    """
    labels, numbers = slots // run.ipc, slots % run.ipc
    paths = {
        label: run.folder / "patches" / f"class-{label:05d}.safetensors"
        for label in labels.unique().tolist()
    }
    missing = [label for label, path in paths.items() if not path.exists()]
    if missing:
        with run.progress.task("patches", len(missing)) as bar:
            for label in missing:
                check_stop()
                write_tensors(paths[label], {"images": patch_collages(run, label, losses)})
                bar.advance()
    images = torch.empty(len(slots), *run.shape)
    for label, path in paths.items():
        own = labels == label
        images[own] = TensorFile(path)["images"][numbers[own]].float() / 255
    return run.space.to("cpu").encode(images)


def patch_losses(pool: Pool, members: Sequence[int], segment: int = 0) -> Losses:
    """Return the mean cross-entropy in members of a pool.

    Args:
        segment: images that pass through a network at once; 0: all that are given.
    """

    @torch.no_grad()
    def losses(inputs: Tensor, label: int) -> Tensor:
        truth = torch.full((len(inputs),), label, device=inputs.device)
        each = []
        for member in members:
            network = pool.network(member)
            parts = inputs.split(segment or len(inputs))
            logits = torch.cat([network(part) for part in parts]).float()
            each.append(F.cross_entropy(logits, truth, reduction="none"))
        return torch.stack(each).mean(0)

    return losses


def best_patches(run: Run, label: int, count: int, losses: Losses) -> Tensor:
    """Return the patches of a class with the lowest loss, best first.

    The best of each candidate image; where there are fewer images than patches, then the second of
    each, and so on.

    Args:
        count: how many patches.

    Returns:
        uint8 (count, channels, height // along, width // along), on the CPU.
    """
    options: PatchSettings = run.options
    rows = shuffled(run, label)[: max(options.candidates, count)]
    kept = -(-count // len(rows))  # patches of an image
    tries = draw_tries(len(rows) * options.crops, run.generator("patches", label))
    tries = tries.unflatten(1, (len(rows), options.crops))
    found, scores = [], []
    for part in torch.arange(len(rows)).split(max(1, PATCH_BATCH // options.crops)):
        patches = cut_patches(run, rows[part], tries[:, part])
        loss = scored(run, label, patches, losses).unflatten(0, (len(part), -1))
        best = loss.argsort(dim=1, stable=True)[:, :kept]
        patches = patches.unflatten(0, (len(part), -1))
        found.append(patches[torch.arange(len(part))[:, None], best])
        scores.append(loss.gather(1, best))
    patches, loss = torch.cat(found), torch.cat(scores)
    if not loss.isfinite().all():
        raise DdkitError(
            "the networks' outputs are not finite: lower their learning rate (--set train_lr=…), "
            "or name another pool"
        )
    order = loss.argsort(dim=0, stable=True).T.flatten()  # the best of each image come first
    rank = torch.arange(kept).repeat_interleave(len(rows))
    return patches[order[:count], rank[:count]]


def check_patches(run: Run) -> None:
    """Raise `DdkitError` where a class has too few patches, or images are too small."""
    options: PatchSettings = run.options
    along = options.patches_along(run.shape)
    if along > min(run.shape[1:]):
        raise DdkitError(
            f"collage={along}: images of {run.shape[1]}×{run.shape[2]} pixels cannot hold so many "
            "patches along a side: lower it"
        )
    least = int(run.train.counts.argmin())
    has, needed = int(run.train.counts[least]) * options.crops, run.ipc * along**2
    if has < needed:
        raise DdkitError(
            f"class '{run.classes[least]}' has {has} patches, {options.crops} of each of its "
            f"images, fewer than the {needed} that it needs: lower --ipc or collage, or raise crops"
        )


def cut_patches(run: Run, rows: Tensor, tries: Tensor) -> Tensor:
    """Return square random parts of training images, out of more detail where data have it.

    Args:
        rows: int64 (n,).
        tries: float64 (4, n, crops, …), see `draw_tries`.

    Returns:
        uint8 (n · crops, channels, height // along, width // along), on the CPU.
    """
    options: PatchSettings = run.options
    along = options.patches_along(run.shape)
    size = (run.shape[1] // along, run.shape[2] // along)
    shape = CropShape((options.patch_scale, 1.0), (1.0, 1.0), size)
    each = rows.repeat_interleave(tries.shape[2])
    plain = torch.zeros(len(each), dtype=torch.bool)
    pixels = run.train.pixels
    return random_crops(pixels, each, tries.flatten(1, 2), plain, run.device, shape).cpu()


@torch.no_grad()
def scored(run: Run, label: int, patches: Tensor, losses: Losses) -> Tensor:
    """Return the loss of each patch for its class, float32 (n,), on the CPU."""
    parts = patches.split(PATCH_BATCH)
    return torch.cat([losses(framed(run, part), label).float().cpu() for part in parts])


def framed(run: Run, patches: Tensor) -> Tensor:
    """Return network inputs (n, channels, H, W) with a patch in the middle of each.

    What is around it has the training images' mean colour, which networks see as 0.
    """
    _, height, width = run.shape
    mean = run.space.mean.to(run.device).view(-1, 1, 1)
    images = mean.expand(len(patches), -1, height, width).clone()
    top, left = (height - patches.shape[2]) // 2, (width - patches.shape[3]) // 2
    inside = images[:, :, top : top + patches.shape[2], left : left + patches.shape[3]]
    inside.copy_(patches.to(run.device).float() / 255)
    return run.space.encode(images)

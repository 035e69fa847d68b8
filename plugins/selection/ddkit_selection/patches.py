"""The patches of a class that trained networks recognise best (RDED, Sun et al., CVPR 2024)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit import CropShape, DdkitError, Pool, Run, draw_tries, random_crops, shuffled
from ddkit_selection.options import SelectionOptions

BATCH = 256  # patches that are scored at once


def best_patches(run: Run, pool: Pool, members: Sequence[int], label: int, count: int) -> Tensor:
    """Return the patches of a class with the lowest cross-entropy, best first.

    The best of each candidate image; where there are fewer images than patches, then the second of
    each, and so on.

    Args:
        members: of the pool, whose cross-entropies are averaged.
        count: how many patches.

    Returns:
        uint8 (count, channels, height // along, width // along).
    """
    options: SelectionOptions = run.options
    rows = shuffled(run, label)[: max(options.candidates, count)]
    kept = -(-count // len(rows))  # patches of an image
    tries = draw_tries(len(rows) * options.crops, run.generator("patches", label))
    tries = tries.unflatten(1, (len(rows), options.crops))
    found, scores = [], []
    for part in torch.arange(len(rows)).split(max(1, BATCH // options.crops)):
        patches = cut_patches(run, rows[part], tries[:, part])
        losses = scored(run, pool, members, label, patches).unflatten(0, (len(part), -1))
        best = losses.argsort(dim=1, stable=True)[:, :kept]
        patches = patches.unflatten(0, (len(part), -1))
        found.append(patches[torch.arange(len(part))[:, None], best])
        scores.append(losses.gather(1, best))
    patches, losses = torch.cat(found), torch.cat(scores)
    if not losses.isfinite().all():
        raise DdkitError(
            "the networks' outputs are not finite: lower their learning rate (--set train_lr=…), "
            "or name another pool"
        )
    order = losses.argsort(dim=0, stable=True).T.flatten()  # the best of each image come first
    rank = torch.arange(kept).repeat_interleave(len(rows))
    order, rank = order[:count], rank[:count]
    return patches[order, rank]


def check_patches(run: Run) -> None:
    """Raise `DdkitError` where a class has too few patches, or images are too small."""
    options: SelectionOptions = run.options
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
    options: SelectionOptions = run.options
    along = options.patches_along(run.shape)
    size = (run.shape[1] // along, run.shape[2] // along)
    shape = CropShape((options.patch_scale, 1.0), (1.0, 1.0), size)
    each = rows.repeat_interleave(tries.shape[2])
    plain = torch.zeros(len(each), dtype=torch.bool)
    return random_crops(run.train.pixels, each, tries.flatten(1, 2), plain, run.device, shape).cpu()


@torch.no_grad()
def scored(run: Run, pool: Pool, members: Sequence[int], label: int, patches: Tensor) -> Tensor:
    """Return the cross-entropy of each patch for its class, float32 (n,), on the CPU.

    Networks see a patch in the middle of an image of the training images' mean colour.
    """
    targets = torch.full((len(patches),), label, device=run.device)
    losses = []
    for part, truth in zip(patches.split(BATCH), targets.split(BATCH), strict=True):
        inputs = framed(run, part)
        each = [
            F.cross_entropy(pool.network(member)(inputs).float(), truth, reduction="none")
            for member in members
        ]
        losses.append(torch.stack(each).mean(0).cpu())
    return torch.cat(losses)


def framed(run: Run, patches: Tensor) -> Tensor:
    """Return network inputs (n, channels, H, W) with a patch in the middle of each."""
    _, height, width = run.shape
    mean = run.space.mean.to(run.device).view(-1, 1, 1)
    images = mean.expand(len(patches), -1, height, width).clone()
    top, left = (height - patches.shape[2]) // 2, (width - patches.shape[3]) // 2
    inside = images[:, :, top : top + patches.shape[2], left : left + patches.shape[3]]
    inside.copy_(patches.to(run.device).float() / 255)
    return run.space.encode(images)

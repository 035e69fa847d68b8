"""Where the images of a run start: real ones, noise, or those of a set that exists."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ddkit.data.augmentation.augment import draw_boxes, draw_flips, resample
from ddkit.run import Run
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.shards import Shard

REPEATED_SCALE = (0.5, 1.0)  # share of an image that a repetition of it shows


def initial_inputs(run: Run, shard: Shard, chosen: Callable[[int], Tensor] | None = None) -> Tensor:
    """Return where a shard's images start, as network inputs on the CPU.

    Real images are the same for every method and every cut into shards: image i of class c is
    number i of a shuffle of that class that follows from the seed; or those that the method has
    `chosen`, as for `real_images`.
    """
    if run.config.init == "noise":
        return torch.randn(
            len(shard), *run.shape, generator=run.generator("initial noise", shard.index)
        )
    images = (
        run.start(shard.slots)
        if run.start is not None
        else real_images(run, shard.slots, chosen or partial(_chosen, run))
    )
    inputs = run.space.to("cpu").encode(images)
    if run.start is None and run.config.short_classes == "noise":
        for place in _beyond(run, shard.slots):
            draw = run.generator("initial noise of an image", int(shard.slots[place]))
            inputs[place] = torch.randn(run.shape, generator=draw)
    return inputs


def initial_real(run: Run, slots: Tensor | None = None) -> Tensor:
    """Return random real images for these slots (int64; all), float32 in data space."""
    slots = torch.arange(run.total) if slots is None else slots
    return real_images(run, slots, partial(_chosen, run))


def real_images(run: Run, slots: Tensor, chosen: Callable[[int], Tensor]) -> Tensor:
    """Return real images for slots (int64), float32 (B, channels, H, W) in data space.

    Args:
        chosen: from a class to its rows of the training split (int64), in order: ipc of them, or
            all there are. Where that is fewer, they repeat; each repetition shows a random part of
            its image, mirrored half of the time where the data allow it.
    """
    labels, numbers = slots // run.ipc, slots % run.ipc
    rows = torch.empty_like(slots)
    for label in labels.unique().tolist():
        of_class = chosen(label)
        own = labels == label
        rows[own] = of_class[numbers[own] % len(of_class)]
    images = run.train.take(rows).float() / 255
    for place in _beyond(run, slots):
        draw = run.generator("repeated image", int(slots[place]))
        box = draw_boxes(1, (run.shape[1], run.shape[2]), draw, scale=REPEATED_SCALE)
        flip = draw_flips(1, draw) & run.train.mirror
        images[place] = resample(images[place : place + 1], box, flip)[0]
    return images


def rows_of_counts(run: Run, counts: Sequence[int]) -> Tensor:
    """Return the rows of so many random real images of each class, class by class: int64 (N,).

    Raises `DdkitError` where a class has fewer, and they may not repeat.
    """
    rows = []
    for label, count in enumerate(counts):
        own = _chosen(run, label, count)
        if len(own) < count and run.config.short_classes == "refuse":
            raise DdkitError(
                f"class '{run.classes[label]}' has {len(own)} training images, fewer than {count}"
            )
        rows.append(own[torch.arange(count) % max(1, len(own))])
    return torch.cat(rows)


def check_initial(run: Run) -> None:
    """Raise `DdkitError` where the images have nothing to start from, before work begins."""
    if run.start is not None:
        run.start(torch.arange(1))
    elif run.config.init == "real":
        counts, needed = run.train.counts, run.decoded.ipc
        least = int(counts.argmin())
        short = int((counts < needed).sum())
        asked = f"--ipc {run.ipc}" + (f" × {needed // run.ipc}" if needed > run.ipc else "")
        if short:
            text = f"class '{run.classes[least]}' has {counts[least]} training images"
            if run.config.short_classes == "refuse":
                raise DdkitError(
                    f"{text}, fewer than {asked}: lower --ipc, leave the class out "
                    "(--classes), or use --short-classes repeat or noise"
                )
            repeated = run.config.short_classes == "repeat"
            how = "repeated, augmented" if repeated else "noise at first"
            missing = int((needed - counts).clamp_min(0).sum())
            run.progress.note(
                f"{short} of {len(counts)} classes have fewer than {needed} images ({text}): "
                f"{missing} of {run.decoded.total} are {how}"
            )


def _beyond(run: Run, slots: Tensor) -> list[int]:
    """Return the places of the slots that have no real image of their own."""
    return (slots % run.ipc >= run.train.counts[slots // run.ipc]).nonzero().flatten().tolist()


def shuffled(run: Run, label: int) -> Tensor:
    """Return all training images of a class, int64 rows in the order in which they are taken."""
    members = (run.train.labels == label).nonzero().flatten()
    return members[torch.randperm(len(members), generator=run.generator("initial", label))]


def _chosen(run: Run, label: int, count: int | None = None) -> Tensor:
    """Return the training images that a class starts from: `count` (ipc) of them, or all."""
    return shuffled(run, label)[: run.ipc if count is None else count]

"""Ensemble soft labels of augmented images (Algorithm 1, appendix D.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddkit import EpochLabels, HardLabels, Labels, Pool, Run, SoftLabels, Synthetic
from ddkit.data.views import Views, draw_views, render
from ddkit.distilled import as_pixels
from ddkit.labelling import label_epochs
from ddkit_teddy.objective import ROLES
from ddkit_teddy.options import TeddyOptions

BATCH = 256


def label(run: Run, pool: Pool, images: Synthetic) -> Labels:
    """Return the labels that the options ask for."""
    options: TeddyOptions = run.options
    members = labelling_members(pool, options.label_members)
    if options.labels == "hard" or not members:
        return HardLabels(images.classes)
    networks = ensemble(pool, members)
    if options.labels == "image":
        rows = torch.arange(len(images))
        pixels = as_pixels(images.images)
        logits = torch.cat([
            average(networks, run.space.encode(pixels[part].to(run.device)), options.average).cpu()
            for part in rows.split(BATCH)
        ])  # fmt: skip
        return SoftLabels(logits.half(), options.temperature)
    return epoch_labels(run, networks, images)


def epoch_labels(run: Run, networks: Sequence[nn.Module], images: Synthetic) -> EpochLabels:
    """Label a new augmentation of every image for each epoch: random resized crop, flip, CutMix.

    CutMix, its boxes and its partners are drawn per image, over the whole set.
    """
    options: TeddyOptions = run.options
    pixels = as_pixels(images.images).to(run.device)
    size = (pixels.shape[-2], pixels.shape[-1])
    rows = torch.arange(len(images), device=run.device)

    def label_once(epoch: int) -> tuple[Tensor, Views]:
        views = draw_views(
            len(images), size, run.generator("label views", epoch),
            scale=(options.crop_scale, 1.0), flip=run.train.mirror, mix=options.mix,
        )  # fmt: skip
        on_device = views.to(run.device)
        parts = [
            average(networks, run.space.encode(render(pixels, on_device, part)), options.average)
            for part in torch.split(rows, BATCH)
        ]
        return torch.cat(parts).half().cpu(), views

    return label_epochs(run, images, options.label_epochs, label_once, options.temperature)


@torch.no_grad()
def average(networks: Sequence[nn.Module], inputs: Tensor, how: str) -> Tensor:
    """Return the ensemble's logits (B, classes): of averaged logits, or of averaged probabilities.

    Y = 1/|M| Σ h(A(X); θ) (Algorithm 1). The logarithm of averaged probabilities serves as logits,
    so that either can be softened by a temperature afterwards.
    """
    outputs = torch.stack([network(inputs) for network in networks])
    if how == "logits":
        return outputs.mean(0)
    return torch.logsumexp(torch.log_softmax(outputs, dim=2), dim=0) - torch.log(
        torch.tensor(float(len(networks)))
    )


def labelling_members(pool: Pool, wanted: int) -> list[int]:
    """Return the members that label: all, or `wanted` of them evenly over the pool."""
    members = pool.with_role(*ROLES) or list(range(len(pool)))
    if wanted <= 0 or wanted >= len(members):
        return members
    picks = torch.linspace(0, len(members) - 1, wanted).round().long().tolist()
    return [members[pick] for pick in picks]


def ensemble(pool: Pool, members: Sequence[int]) -> list[nn.Module]:
    """Return the members as networks, all held at once."""
    pool.keep = len(members)
    return [pool.network(index) for index in members]

"""Ensemble soft labels of augmented images (Algorithm 1, appendix D.3)."""

from collections.abc import Sequence
from functools import partial

import torch

from ddkit import (
    LABEL_BATCH,
    Ensemble,
    HardLabels,
    Labels,
    Pool,
    Run,
    SoftLabels,
    Synthetic,
    averaged_logits,
    label_epochs,
    logits_of,
)
from ddkit_teddy.objective import ROLES
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.weights import label_weights


def label(run: Run, pool: Pool, images: Synthetic) -> Labels:
    """Return the labels that the options ask for."""
    options: TeddyOptions = run.options
    members = labelling_members(pool, options.label_members)
    if options.labels == "hard" or not members:
        return HardLabels(images.classes)
    weights = label_weights(run, pool, members)
    if options.labels == "image":
        ensemble = Ensemble.of(pool, members, options.average)
        return image_labels(run, ensemble, pool, images, weights)
    return label_epochs(
        run,
        images,
        pool,
        members,
        epochs=options.label_epochs,
        scale=(options.crop_scale, 1.0),
        mix=options.mix,
        how=options.average,
        temperature=options.temperature,
        weights=weights,
        statistics=options.label_statistics,
        batch=options.label_batch,
    )


def image_labels(
    run: Run,
    ensemble: Ensemble,
    pool: Pool,
    images: Synthetic,
    weights: Sequence[float] | None = None,
) -> SoftLabels:
    """Label the images as they are."""
    networks = ensemble.networks(pool)
    label = partial(averaged_logits, networks, how=ensemble.average, weights=weights)
    logits = logits_of(label, run, images, LABEL_BATCH)
    return SoftLabels(logits.half(), run.options.temperature)


def labelling_members(pool: Pool, wanted: int) -> list[int]:
    """Return the members that label: all, or `wanted` of them evenly over the pool."""
    members = pool.with_role(*ROLES) or list(range(len(pool)))
    if wanted <= 0 or wanted >= len(members):
        return members
    picks = torch.linspace(0, len(members) - 1, wanted).round().long().tolist()
    return [members[pick] for pick in picks]

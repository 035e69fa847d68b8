"""v = f_T(u): the logits that go with the images (Algorithm 1, line 12)."""

import torch
from torch import Tensor

from ddkit import HardLabels, Labels, Pool, Run, SoftLabels, Synthetic
from ddkit.distilled import as_pixels
from ddkit_apm.options import ApmOptions
from ddkit_apm.teachers import members

BATCH = 512


def label(run: Run, pool: Pool, images: Synthetic) -> Labels:
    """Return the labels that the options ask for; soft ones as logits, one per image."""
    options: ApmOptions = run.options
    if options.labels == "hard":
        return HardLabels(images.classes)
    found = members(pool)
    if options.labels == "teacher":
        pick = torch.randint(len(found), (), generator=run.generator("labelling teacher"))
        chosen = [found[int(pick)]]
    else:
        chosen = found[: options.label_teachers or len(found)]
    total: Tensor | float = 0.0
    for member in chosen:  # one at a time: a hundred sets of logits would not fit
        total = total + teacher_logits(run, pool, member, images)
    return SoftLabels(torch.as_tensor(total) / len(chosen))


@torch.no_grad()
def teacher_logits(run: Run, pool: Pool, member: int, images: Synthetic) -> Tensor:
    """Return a member's logits (N, classes) for the images as they are, on the CPU."""
    network = pool.network(member)
    parts = torch.split(as_pixels(images.images), BATCH)
    return torch.cat([network(run.space.encode(part.to(run.device))).cpu() for part in parts])

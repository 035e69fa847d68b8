"""v = f_T(u): the logits that go with the images (Algorithm 1, line 12)."""

import torch
from torch import Tensor

from ddkit import HardLabels, Labels, Pool, Run, SoftLabels, Synthetic, logits_of
from ddkit_apm.options import ApmOptions
from ddkit_apm.teachers import members


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
        total = total + logits_of(pool.network(member), run, images)
    return SoftLabels(torch.as_tensor(total) / len(chosen))

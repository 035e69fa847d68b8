"""How a set is cut into batches: a last batch of one image would break batch norm, so it joins."""

import torch
from torch import Tensor


def batches_of(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut `order` (int64) into batches of `batch_size`; a last one of 1 joins the one before."""
    parts = list(torch.split(order, batch_size)) if len(order) else []
    if len(parts) > 1 and len(parts[-1]) == 1 < batch_size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def batch_count(images: int, batch_size: int) -> int:
    """Return how many batches `batches_of` makes of so many images."""
    return len(batches_of(torch.arange(images), batch_size))

"""Labels of several sets put together, each where its image goes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ddkit.distilled.dataset import DistilledDataset
from ddkit.labels import EpochLabels, HardLabels, Labels, RegressionTargets, SoftLabels
from ddkit.labels.coded import combined


def placed(pieces: Sequence[Tensor], slots: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return one tensor with entry i of piece k, along `dim`, at `slots[k][i]`."""
    shape = list(pieces[0].shape)
    shape[dim] = sum(map(len, slots))
    merged = torch.empty(shape, dtype=promoted(pieces))
    for piece, rows in zip(pieces, slots, strict=True):
        merged.index_copy_(dim, rows, piece.to(merged.dtype))
    return merged


def promoted(pieces: Sequence[Tensor]) -> torch.dtype:
    """Return the smallest type that holds the values of all: float16 beside float32, float32."""
    return reduce(torch.promote_types, (piece.dtype for piece in pieces))


def merged_hard(parts: Sequence[DistilledDataset], slots: Sequence[Tensor]) -> Labels:
    return HardLabels(placed([part.classes for part in parts], slots))


def merged_soft(parts: Sequence[DistilledDataset], slots: Sequence[Tensor]) -> Labels:
    labels = [part.labels for part in parts if isinstance(part.labels, SoftLabels)]
    logits = combined([each.logits for each in labels], lambda parts: placed(parts, slots))
    return SoftLabels(logits, labels[0].temperature)


def merged_targets(parts: Sequence[DistilledDataset], slots: Sequence[Tensor]) -> Labels:
    labels = [part.labels for part in parts if isinstance(part.labels, RegressionTargets)]
    return RegressionTargets(placed([each.values for each in labels], slots))


def merged_epochs(parts: Sequence[DistilledDataset], slots: Sequence[Tensor]) -> Labels:
    """Return labels per epoch whose views paste the same partners, wherever those are by now."""
    labels = [part.labels for part in parts if isinstance(part.labels, EpochLabels)]
    written = [each.written_down() for each in labels]
    views = [
        replace(view, partner=rows[view.partner]) for view, rows in zip(written, slots, strict=True)
    ]
    fields: dict[str, Any] = {  # views lie epoch by epoch: (epochs · n, …)
        name: placed(
            [getattr(view, name).unflatten(0, (labels[0].epochs, -1)) for view in views], slots, 1
        ).flatten(0, 1)
        for name in views[0].fields
    }
    logits = combined([each.logits for each in labels], lambda parts: placed(parts, slots, 1))
    return EpochLabels(logits, replace(views[0], **fields), labels[0].temperature)


LABELS = {
    "hard": merged_hard,
    "soft": merged_soft,
    "targets": merged_targets,
    "epoch": merged_epochs,
}

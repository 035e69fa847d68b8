"""Where DATM starts: with images that experts classify right, and with what these experts say."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

BATCH = 256


def mean_of_right(each: Iterable[Tensor], classes: Tensor) -> Tensor:
    """Return the mean logits of the experts that classify an image right: (N, classes).

    Where none does it is the mean of all; the released code divides by zero there.

    Args:
        each: the logits (N, classes) of one expert after the other.
        classes: int64 (N,), on the device of the logits.
    """
    right = everyone = count = torch.zeros(())
    for number, logits in enumerate(each, 1):
        hit = (logits.argmax(1) == classes)[:, None]
        right, count = right + logits * hit, count + hit
        everyone = everyone + (logits - everyone) / number
    return torch.where(count > 0, right / count.clamp_min(1), everyone)


def right_ones(
    rows: Tensor,
    label: int,
    count: int,
    experts: Sequence[int],
    logits: Callable[[int, Tensor], Tensor],
) -> Tensor:
    """Return `count` of a class's rows: those that the first expert classifies right, in order.

    Where these are too few, those follow that the next experts do, and then those that all of them
    get wrong, by their mean cross-entropy.

    Args:
        rows: int64, all of the class, in random order.
        label: the class.
        experts: members of the pool.
        logits: (member, rows) → (n, classes). It is asked in parts, until there are enough.
    """
    chosen: list[Tensor] = []
    losses = torch.zeros(len(rows))
    rest = torch.arange(len(rows))
    for expert in experts:
        wrong: list[Tensor] = []
        for part in rest.split(BATCH):
            found = logits(expert, rows[part]).cpu()
            hit = found.argmax(1) == label
            chosen.append(part[hit])
            wrong.append(part[~hit])
            losses[part] -= found.log_softmax(1)[:, label]
            if sum(map(len, chosen)) >= count:
                return rows[torch.cat(chosen)[:count]]
        rest = torch.cat(wrong)
        if not len(rest):
            break
    least = rest[losses[rest].argsort(stable=True)]
    return rows[torch.cat([*chosen, least])[:count]]

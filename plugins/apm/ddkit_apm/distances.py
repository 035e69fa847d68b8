"""d(·, ·) of Eq. 2 to 4: how far two networks' logits are apart, image by image."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]


def l1(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean absolute difference of logits (B, classes), (B,); the paper's choice.

    The mean over classes, not the sum: the published learning rates of the student are for it, and
    under the log of Eq. 4 a factor changes nothing.
    """
    return (teacher - student).abs().mean(1)


def l2(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean squared difference of logits (B, classes), (B,)."""
    return (teacher - student).square().mean(1)


def kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(softmax(teacher) ‖ softmax(student)) of logits (B, classes), (B,), in nats."""
    target, guess = F.log_softmax(teacher, dim=1), F.log_softmax(student, dim=1)
    return (target.exp() * (target - guess)).sum(1)


def cosine(teacher: Tensor, student: Tensor) -> Tensor:
    """Return 1 − the cosine of the angle between logits (B, classes), (B,)."""
    return 1 - torch.cosine_similarity(teacher, student, dim=1)


DISTANCES: dict[str, Distance] = {"l1": l1, "l2": l2, "kl": kl, "cosine": cosine}

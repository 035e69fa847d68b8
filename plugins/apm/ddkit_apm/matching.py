"""Eq. 4 and its gradient, segment by segment and term by term.

    L_u = 1/B Σ_i [ Σ_e −log d(f_T(u_i), f_{S_e}(u_i)) + α H(y_i, f_T(u_i)) ]

over the B images of a mini-batch and K checkpoints S_e of a student. It is a sum over images, so
that its gradient comes in segments of any size, and a sum over checkpoints, so that one student's
graph is held at a time: beside weights and images, memory depends neither on B nor on K.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit import DdkitError
from ddkit_apm.distances import Distance

EPSILON = 1e-8  # inside the log: equal logits would have an infinite slope; rounding may give d < 0
Logits = Callable[[Tensor], Tensor]


def prediction_matching(
    inputs: Tensor,
    classes: Tensor,
    teacher: Logits,
    students: Sequence[Logits],
    distance: Distance,
    *,
    alpha: float = 0.1,
    log: bool = True,
    segment: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return L_u of Eq. 4, 0-dim, and ∂L_u/∂inputs, of their shape.

    The logarithm is of each image's distance to each checkpoint, before any mean; the
    cross-entropy counts once per image. The teacher looks at each segment once: what all terms say
    of its logits goes back through it together.

    Args:
        inputs: (B, channels, H, W), network inputs.
        classes: int64 (B,), y_u.
        teacher, students: inputs (b, channels, H, W) → logits (b, classes); frozen, in eval mode,
            each image apart.
        distance: d, (b, classes) twice → (b,).
        alpha: weight of the cross-entropy.
        log: False leaves the logarithm out, as the released code does.
        segment: images at a time; 0 takes all together.
    """
    count = len(inputs)
    total = inputs.new_zeros(())
    gradient = torch.empty_like(inputs)
    for start in range(0, count, segment or count):
        rows = slice(start, start + (segment or count))
        part = inputs[rows].detach().requires_grad_()
        target = teacher(part)
        logits = target.detach().requires_grad_()
        loss = alpha * F.cross_entropy(logits, classes[rows], reduction="sum")
        (slope,) = torch.autograd.grad(loss, logits)
        direct = torch.zeros_like(part)
        for student in students:
            apart = distance(logits, student(part))
            term = -(apart.clamp_min(0) + EPSILON).log().sum() if log else -apart.sum()
            through = torch.autograd.grad(term, (logits, part))
            slope, direct = slope + through[0], direct + through[1]
            loss = loss.detach() + term.detach()
        (indirect,) = torch.autograd.grad(target, part, slope)
        gradient[rows] = (direct + indirect) / count
        total = total + loss.detach() / count
    return total, gradient


def checkpoint_epochs(epochs: int, checkpoints: int) -> list[int]:
    """Return the K epochs (1 … E) after which the student is kept: every E/K, else round(j·E/K).

    Algorithm 1 as printed, every ⌊E/K⌋ epochs, keeps more than K where K does not divide E.
    """
    if epochs < checkpoints:
        raise DdkitError(
            f"student_epochs={epochs} is too few for checkpoints={checkpoints}, at most one per "
            "epoch: raise student_epochs or lower checkpoints"
        )
    return [round(number * epochs / checkpoints) for number in range(1, checkpoints + 1)]

"""Temperatures that change in training: labels sharpen, and the student's follows what it fits.

Xiao and He: Soft Label Pruning and Quantization for Large-Scale Dataset Distillation, 2026 (LPQLD),
sections III-D (labels that are used again teach something else at another temperature) and III-E
(a student that must not match the scale of logits). Departure: the student's temperature is the
minimum itself, not the best of a hundred values.
"""

import torch
from torch import Tensor

from ddkit.training.recipe import Recipe

PARTS = 10  # of a training, at each of which labels cool
COOLEST = 2.0
SHARPEST = 100.0  # the largest 1 / temperature of a student; the smallest is 1
HALVINGS = 24  # to within 6e-6 of the minimum


class Temperatures:
    """The loss of soft labels against students, at temperatures of either side's own.

    KL(softmax(targets / T) ‖ softmax(logits / S)), averaged over the batch. T begins at that of the
    labels and falls by a factor at each tenth of the training, down to 2; S is T, or with
    `calibrated` one for each student: 1 at first, then whatever in 0.01 … 1 would have been best
    for its last batch of the epoch before.
    """

    def __init__(self, temperature: float, recipe: Recipe):
        """Begin a training by `recipe` with the `temperature` of its labels, T > 0."""
        self._first, self._recipe = temperature, recipe
        self._last: tuple[Tensor, Tensor] | None = None
        self.teacher = temperature
        self.student: float | Tensor = 1.0 if recipe.calibrated else temperature

    def begin(self, epoch: int) -> None:
        """Set both temperatures for an epoch; they follow from what was trained on before it."""
        parts = PARTS * epoch // self._recipe.epochs
        cooled = self._first * self._recipe.cooling**parts
        self.teacher = max(cooled, min(COOLEST, self._first))
        if not self._recipe.calibrated:
            self.student = self.teacher
        elif self._last is not None:
            self.student = best_temperature(*self._last)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits and targets (B, classes), or its sum over k of (k, B, …)."""
        teacher = (targets / self.teacher).log_softmax(-1)
        student = (logits / self.student).log_softmax(-1)
        self._last = logits.detach().float(), teacher.exp()
        return (teacher.exp() * (teacher - student)).sum() / logits.shape[-2]


def best_temperature(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Return t in 0.01 … 1 for which softmax(logits / t) is nearest to the probabilities, in KL.

    The divergence is convex in 1 / t, so that halving the range by its slope finds the minimum.

    Args:
        logits, probabilities: (…, B, classes); t is one for all B.

    Returns:
        (…, 1, 1).
    """
    low = logits.new_ones(*logits.shape[:-2], 1, 1)
    high = low * SHARPEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        surplus = (logits * middle).softmax(-1) - probabilities
        falls = (surplus * logits).sum((-2, -1), keepdim=True) < 0
        low, high = torch.where(falls, middle, low), torch.where(falls, high, middle)
    return 2 / (low + high)

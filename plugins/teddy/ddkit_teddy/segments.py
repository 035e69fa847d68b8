"""Eq. 7 and its exact gradient, segment by segment and member by member.

Members are in eval mode and treat each image apart: only a batch's statistics couple its images.
Let f be the N values of a channel at the input of a batch norm, over images and positions, and
n_k, μ_k, σ²_k number, mean and variance (÷ n_k) of those of segment k. For each member

    pass 1, without a graph: n_k, μ_k, σ²_k, merged one by one into N, μ and σ² of the batch
    ∂L/∂μ, ∂L/∂σ² and, class-wise, ∂L/∂μ_y: by autograd on these small tensors
    pass 2, for each segment, with its graph: the gradient with respect to its images of
        Σ_layers ⟨∂L/∂μ, n_k μ_k / N⟩ + ⟨∂L/∂σ², n_k (σ²_k + (μ_k − μ)²) / (N − 1)⟩
               + ⟨∂L/∂μ_y, the segment's share of μ_y⟩, + u/B Σ_i H(y_i, f(x_i))

The segments' parts of a mean add up to it, and so do those of a variance, whose μ is a constant
here: σ² does not change with it, since Σ (f − μ) = 0. Beside images and weights, memory is that of
one segment of one member, whatever n and B are; time is that of one more forward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit import with_gradients
from ddkit_teddy.matching import (
    Reference,
    channelwise,
    class_means,
    class_shares,
    distance_to,
    forward_with_features,
)


@dataclass(frozen=True, eq=False)
class Moments:
    """Statistics of one layer of C channels over some of a batch's images.

    Attributes:
        count: values per channel.
        mean: (C,).
        squares: (C,), the sum of squared deviations from the mean.
        class_means: (P, C), these images' share of the means of the batch's P classes, or None.
    """

    count: int
    mean: Tensor
    squares: Tensor
    class_means: Tensor | None

    @classmethod
    def of(cls, features: Tensor, share: Tensor | None) -> "Moments":
        """Return those of features (b, C, …) of images with `share` (b, P) in class means."""
        count = features.numel() // features.shape[1]
        variance, mean = torch.var_mean(features, dim=channelwise(features), correction=0)
        by_class = None if share is None else class_means(features, share)
        return cls(count, mean, variance * count, by_class)

    def merged(self, other: "Moments") -> "Moments":
        """Return those of both together (Chan, Golub and LeVeque, 1979): no large sums cancel."""
        count = self.count + other.count
        gap = other.mean - self.mean
        return Moments(
            count,
            self.mean + gap * (other.count / count),
            self.squares + other.squares + gap.square() * (self.count * other.count / count),
            _sum(self.class_means, other.class_means),
        )


@dataclass(frozen=True, eq=False)
class Slopes:
    """How a member's loss changes with the statistics of one layer over the whole batch.

    Attributes:
        batch: these statistics.
        mean, variance: ∂L/∂μ and ∂L/∂σ², (C,).
        freedom: what the squares are divided by in σ².
        class_means: ∂L/∂μ_y, (P, C), or None.
    """

    batch: Moments
    mean: Tensor
    variance: Tensor
    freedom: int
    class_means: Tensor | None = None

    def along(self, part: Moments) -> Tensor:
        """Return what has the loss's gradient for the images of a segment with these moments."""
        around = part.squares + part.count * (part.mean - self.batch.mean).square()
        share = part.count / self.batch.count
        total = (self.mean * part.mean).sum() * share
        total = total + (self.variance * around).sum() / self.freedom
        if self.class_means is not None and part.class_means is not None:
            total = total + (self.class_means * part.class_means).sum()
        return total


def segmented_loss(
    networks: Sequence[nn.Module],
    references: Sequence[Sequence[Reference]],
    inputs: Tensor,
    classes: Tensor,
    *,
    segment: int,
    bn_weight: float = 1.0,
    ce_weight: float = 1.0,
    first_bn: float = 1.0,
    unbiased: bool = True,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Return what `teddy_loss` does, with the same gradient, `segment` images at a time.

    The other arguments are those of `teddy_loss`. The gradient goes on through the graph that
    `inputs` may have.
    """
    batch = _Batch(inputs.detach(), classes, segment, references)
    value = batch.inputs.new_zeros(())
    gradient = torch.zeros_like(batch.inputs)
    shares = weights or [1.0] * len(networks)
    for network, layers, share in zip(networks, references, shares, strict=True):
        own = share * bn_weight
        factors = [own * (1.0 if number else first_bn) for number in range(len(layers))]
        moments = batch.moments(network, len(layers))
        distance, slopes = differentiated(moments, layers, factors, batch.present, unbiased)
        value += distance + batch.pull_back(network, slopes, share * ce_weight, gradient)
    count = sum(shares)
    return with_gradients(value / count, {inputs: gradient.div_(count)})


class _Batch:
    """The images of a step, without a graph, and the two passes of a member over their segments."""

    def __init__(
        self,
        inputs: Tensor,
        classes: Tensor,
        segment: int,
        references: Sequence[Sequence[Reference]],
    ):
        self.inputs = inputs
        self.targets = classes.to(inputs.device, non_blocking=True)
        self.rows = [slice(start, start + segment) for start in range(0, len(inputs), segment)]
        self.present = self.share = None
        if any(layer.class_means is not None for layers in references for layer in layers):
            self.present, self.share = class_shares(classes, inputs)

    def moments(self, network: nn.Module, layers: int) -> list[Moments]:
        """Return the statistics of so many layers over the whole batch (pass 1)."""
        whole: list[Moments] = []
        for rows in self.rows:
            parts = self._seen(network, rows, layers)
            whole = [a.merged(b) for a, b in zip(whole, parts, strict=True)] if whole else parts
        return whole

    def pull_back(
        self, network: nn.Module, slopes: Sequence[Slopes], ce_weight: float, gradient: Tensor
    ) -> Tensor:
        """Add a member's gradient to `gradient` (pass 2), return its weighted cross-entropy."""
        value = self.inputs.new_zeros(())
        for rows in self.rows:
            entropy, own_gradient = self._pulled_back(network, slopes, ce_weight, rows)
            gradient[rows] += own_gradient
            value += entropy
        return value

    @torch.no_grad()
    def _seen(self, network: nn.Module, rows: slice, layers: int) -> list[Moments]:
        _, features = forward_with_features(network, self.inputs[rows], layers)
        return self._moments(features, rows)

    def _pulled_back(
        self, network: nn.Module, slopes: Sequence[Slopes], ce_weight: float, rows: slice
    ) -> tuple[Tensor, Tensor]:
        """Return a segment's share of the cross-entropy, and the gradient of its images."""
        part = self.inputs[rows].requires_grad_()
        logits, features = forward_with_features(network, part, len(slopes))
        with torch.autocast(part.device.type, enabled=False):  # networks alone are cast
            entropy = F.cross_entropy(logits.to(part.dtype), self.targets[rows], reduction="sum")
            share = entropy * (ce_weight / len(self.inputs))
            moments = self._moments(features, rows)
            along = [slope.along(own) for slope, own in zip(slopes, moments, strict=True)]
            (gradient,) = torch.autograd.grad(share + torch.stack(along).sum(), part)
        return share.detach(), gradient

    def _moments(self, features: Sequence[Tensor], rows: slice) -> list[Moments]:
        share = None if self.share is None else self.share[rows]
        return [Moments.of(feature, share) for feature in features]


def differentiated(
    batch: Sequence[Moments],
    references: Sequence[Reference],
    weights: Sequence[float],
    present: Tensor | None,
    unbiased: bool,
) -> tuple[Tensor, list[Slopes]]:
    """Return the weighted sum of a member's distances, 0-dim, and its slopes, layer by layer.

    Args:
        batch: each layer's statistics over the whole batch.
        present: the classes of the class-wise means, if there are such.
    """
    total = batch[0].mean.new_zeros(())
    slopes = []
    for moments, reference, weight in zip(batch, references, weights, strict=True):
        freedom = moments.count - unbiased
        by_class = moments.class_means if reference.class_means is not None else None
        mean = moments.mean.detach().requires_grad_()
        variance = (moments.squares / freedom).detach().requires_grad_()
        means = None if by_class is None else by_class.detach().requires_grad_()
        distance = weight * distance_to(reference, mean, variance, means, present)
        at = [mean, variance] if means is None else [mean, variance, means]
        found = torch.autograd.grad(distance, at, materialize_grads=True)
        slopes.append(Slopes(moments, found[0], found[1], freedom, *found[2:]))
        total = total + distance.detach()
    return total, slopes


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else first + second

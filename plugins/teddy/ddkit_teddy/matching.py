"""Eq. 7: statistics at the inputs of layers, and their distance to the real data's.

All functions are pure. Networks are in eval mode, so a batch is normalised with running statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ddkit import DdkitError, batch_norms, sent


@dataclass(frozen=True)
class Reference:
    """What one layer with C input channels sees on real data.

    Attributes:
        mean, variance: (C,).
        class_means: (classes, C) where class-wise means are matched (appendix C.1), else None.
        class_share: how much these count, 0 … 1; the mean over all images counts the rest.
    """

    mean: Tensor
    variance: Tensor
    class_means: Tensor | None = None
    class_share: float = 1.0

    def to(self, device: torch.device) -> "Reference":
        means = None if self.class_means is None else sent(self.class_means, device)
        mean, variance = sent(self.mean, device), sent(self.variance, device)
        return replace(self, mean=mean, variance=variance, class_means=means)


def matched_layers(network: nn.Module) -> list[_BatchNorm]:
    """Return the batch-norm layers of `network`; raises `DdkitError` where there is none."""
    layers = batch_norms(network)
    if not layers:
        raise DdkitError(
            "Teddy matches the statistics of batch norms, but this network has none: choose one "
            "that does, such as --network convnet:norm=batch or --network resnet18"
        )
    return layers


def running_references(network: nn.Module) -> list[Reference]:
    """Return RM and RV of Eq. 7: the running statistics of each batch norm."""
    references = []
    for layer in matched_layers(network):
        if layer.running_mean is None or layer.running_var is None:
            raise DdkitError(
                "a batch norm of this network tracks no running statistics: build it with "
                "track_running_stats=True or use --set statistics=exact"
            )
        references.append(Reference(layer.running_mean, layer.running_var))
    return references


def layers_of(network: nn.Module, convolutions: bool) -> list[nn.Module]:
    """Return the batch norms of `network` and, if asked for, its convolutions behind them."""
    norms = matched_layers(network)
    if not convolutions:
        return [*norms]
    return [*norms, *(module for module in network.modules() if isinstance(module, _ConvNd))]


def forward_with_features(
    network: nn.Module, inputs: Tensor, count: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return the logits (B, classes) and the inputs (B, C, …) of layers.

    Args:
        count: of how many, batch norms first, then convolutions; None: of the batch norms.
    """
    layers = layers_of(network, convolutions=count is not None)[:count]
    features: dict[int, list[Tensor]] = {index: [] for index in range(len(layers))}
    handles = [
        layer.register_forward_pre_hook(
            lambda _, arguments, index=index: features[index].append(arguments[0].to(inputs.dtype))
        )
        for index, layer in enumerate(layers)
    ]
    try:
        logits = network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    for index, seen in features.items():
        if len(seen) != 1:
            kind = "batch norm" if isinstance(layers[index], _BatchNorm) else "matched layer"
            raise DdkitError(
                f"{kind} {index + 1} of this network is used {len(seen)} times in "
                "a forward pass: Teddy needs networks that use each of theirs once"
            )
    return logits, [seen[0] for seen in features.values()]


def statistics_distance(
    features: Tensor, reference: Reference, classes: Tensor, *, unbiased: bool = True
) -> Tensor:
    """Return ‖μ(f(X_s)) − RM‖₂ + ‖σ²(f(X_s)) − RV‖₂ of one layer (Eq. 7), norms over channels.

    With class-wise means (appendix C.1, Eq. 18) the first term is the mean, over the classes y in
    the batch, of ‖μ_y(f(X_s)) − μ_y(f(X_t))‖₂.

    Args:
        features: (B, C, …), the layer's input.
        reference: the same of real data.
        classes: int64 (B,), read for class-wise means only; on the CPU nothing waits.
        unbiased: divide the batch's variance by n − 1, as torch does for running variances.
    """
    variance, mean = torch.var_mean(features, dim=channelwise(features), correction=int(unbiased))
    if reference.class_means is None:
        return distance_to(reference, mean, variance)
    present, share = class_shares(classes, features)
    return distance_to(reference, mean, variance, class_means(features, share), present)


def distance_to(
    reference: Reference,
    mean: Tensor,
    variance: Tensor,
    means: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """Return the two norms of Eq. 7 for statistics (C,) of a batch, 0-dim.

    Args:
        means: (P, C), of classes, in the place of the mean (Eq. 18).
        present: int64 (P,), the classes that they are of.
    """
    share = 0.0 if means is None or reference.class_means is None else reference.class_share
    first = mean.new_zeros(())
    if share < 1:
        first = (1 - share) * torch.linalg.vector_norm(mean - reference.mean)
    if share > 0 and means is not None and reference.class_means is not None:
        gaps = means - reference.class_means[present]
        first = first + share * torch.linalg.vector_norm(gaps, dim=1).mean()
    second = torch.linalg.vector_norm(variance - reference.variance)
    distance: Tensor = first + second
    return distance


def class_shares(classes: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classes of a batch, int64 (P,), and each image's share in their means, (B, P).

    Sought where `classes` (B,) are, then moved to the device of `like`: on CUDA the search would
    wait for all that was asked of the device before.
    """
    present, which = classes.unique(return_inverse=True)
    share = torch.nn.functional.one_hot(which, len(present)).to(like.dtype)
    shares = (share / share.sum(0)).to(like.device, non_blocking=True)
    return present.to(like.device, non_blocking=True), shares


def class_means(features: Tensor, share: Tensor) -> Tensor:
    """Return the sums (P, C) over images of features (B, C, …), each image by its share (B, P).

    In the features' own precision, also where networks are cast to another one.
    """
    per_image = features.mean(dim=channelwise(features)[1:]) if features.dim() > 2 else features
    with torch.autocast(features.device.type, enabled=False):
        return share.T @ per_image


def channelwise(features: Tensor) -> list[int]:
    """Return the dimensions that statistics of channels go over: all but the second."""
    return [0, *range(2, features.dim())]


def teddy_loss(
    networks: Sequence[nn.Module],
    references: Sequence[Sequence[Reference]],
    inputs: Tensor,
    classes: Tensor,
    *,
    bn_weight: float = 1.0,
    ce_weight: float = 1.0,
    first_bn: float = 1.0,
    unbiased: bool = True,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Return Eq. 7 over the drawn members, 0-dim.

    The mean over members, weighted or not, instead of the printed sum: with Adam the images move
    alike, and losses of runs with different n compare.

    Args:
        networks: n frozen members in eval mode.
        references: for each member, one `Reference` per matched layer, batch norms first.
        inputs: (B, channels, height, width), network inputs.
        classes: int64 (B,); on the CPU nothing waits for the device.
        bn_weight: weight of the statistics (Table 7).
        ce_weight: weight of the cross-entropy (u of Eq. 7).
        first_bn: factor on the first layer's distance.
        unbiased: see `statistics_distance`.
        weights: how much each member counts; None: all alike.
    """
    shares = weights or [1.0] * len(networks)
    total = inputs.new_zeros(())
    targets = classes.to(inputs.device, non_blocking=True)
    for network, layers, share in zip(networks, references, shares, strict=True):
        logits, features = forward_with_features(network, inputs, len(layers))
        distances = [
            statistics_distance(feature, reference, classes, unbiased=unbiased)
            for feature, reference in zip(features, layers, strict=True)
        ]
        distances[0] = first_bn * distances[0]
        cross_entropy = torch.nn.functional.cross_entropy(logits, targets)
        total = total + share * bn_weight * torch.stack(distances).sum()
        total = total + share * ce_weight * cross_entropy
    mean: Tensor = total / sum(shares)
    return mean

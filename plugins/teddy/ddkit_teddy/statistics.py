"""Statistics of real data at batch norms, measured with a member's own weights.

A weak member's running statistics lag behind its weights; these do not. Kept per class, so that
one pass serves the exact statistics (Eq. 5) and the class-wise ones (appendix C.1).
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ddkit_teddy.matching import Reference, forward_with_features, matched_layers


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set every batch norm's running statistics to the average over `batches`, in place.

    As "precise batch norm" (Wu & Johnson, 2021): equal weights for all batches, weights of the
    network as they are now. Leaves the network in eval mode.
    """
    layers = matched_layers(network)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch then averages cumulatively
    network.eval()
    for layer in layers:
        layer.train()  # these alone: dropout would draw
    for inputs, _ in batches:
        network(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


@torch.no_grad()
def measure(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], classes: int
) -> dict[str, Tensor]:
    """Return class-wise sums over real data, for `references` to read; `network` in eval mode.

    Args:
        batches: (inputs (B, channels, height, width), labels int64 (B,)) over the data.
        classes: the number of classes.

    Returns:
        "count": float64 (classes,) images; for layer l of C channels "l.positions": float64 (),
        positions per image, "l.sum" and "l.square": float64 (classes, C), sums over images and
        positions of the features and their squares.
    """
    layers = len(matched_layers(network))
    count = torch.zeros(classes, dtype=torch.float64)
    sums: list[list[Tensor]] = [[] for _ in range(layers)]
    for inputs, labels in batches:
        labels = labels.cpu()
        count += torch.bincount(labels, minlength=classes)
        _, features = forward_with_features(network, inputs)
        for layer, feature in enumerate(features):
            flat = feature.flatten(2) if feature.dim() > 2 else feature.unsqueeze(2)
            first = flat.sum(2, dtype=torch.float64).cpu()
            second = flat.double().square().sum(2).cpu()
            if not sums[layer]:
                zeros = torch.zeros(classes, flat.shape[1], dtype=torch.float64)
                sums[layer] = [zeros, zeros.clone(), torch.tensor(float(flat.shape[2]))]
            sums[layer][0].index_add_(0, labels, first)
            sums[layer][1].index_add_(0, labels, second)
    tensors = {"count": count}
    for layer, (first, second, positions) in enumerate(sums):
        tensors |= {
            f"{layer}.sum": first,
            f"{layer}.square": second,
            f"{layer}.positions": positions.double(),
        }
    return tensors


def references(tensors: Mapping[str, Tensor], *, classwise: bool) -> list[Reference]:
    """Return the references of each layer from what `measure` returned, float32.

    Exact: mean and unbiased variance over all data. Class-wise: the mean of each class, and the
    variance of the mixture in which every class has the same share, whatever its size.
    """
    count = tensors["count"]
    layers = len([name for name in tensors if name.endswith(".sum")])
    result = []
    for layer in range(layers):
        first, second = tensors[f"{layer}.sum"], tensors[f"{layer}.square"]
        number = (count * tensors[f"{layer}.positions"]).unsqueeze(1)
        if classwise:
            class_means = first / number
            mean = class_means.mean(0)
            variance = (second / number).mean(0) - mean.square()
            result.append(Reference(mean.float(), variance.float(), class_means.float()))
        else:
            total = number.sum()
            mean = first.sum(0) / total
            variance = (second.sum(0) - total * mean.square()) / (total - 1)
            result.append(Reference(mean.float(), variance.float()))
    return result

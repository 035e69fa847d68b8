"""Statistics of real data at a network's layers, measured with a member's own weights.

A weak member's running statistics lag behind its weights; these do not. Kept per class, so that
one pass serves the exact statistics (Eq. 5) and the class-wise ones (appendix C.1).
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ddkit import average_statistics
from ddkit_teddy.matching import Reference, forward_with_features, layers_of, matched_layers


def recalibrate(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set every batch norm's running statistics to the average over `batches`, in place.

    As "precise batch norm" (Wu & Johnson, 2021): equal weights for all batches, weights of the
    network as they are now. Leaves the network in eval mode.
    """
    matched_layers(network)  # refuses a network that has none
    network.eval()  # but for its batch norms: dropout would draw
    average_statistics(network, (inputs for inputs, _ in batches))


@torch.no_grad()
def measure(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: int,
    *,
    convolutions: bool = False,
) -> dict[str, Tensor]:
    """Return class-wise sums over real data, for `references` to read; `network` in eval mode.

    Args:
        batches: (inputs (B, channels, height, width), labels int64 (B,)) over the data.
        classes: the number of classes.
        convolutions: whether convolutions are layers as well, after the batch norms.

    Returns:
        On the CPU, where they are read once: "count", float64 (classes,) images; for layer l of C
        channels "l.positions", float64 (), positions per image, "l.sum" and "l.square", float64
        (classes, C), sums over images and positions of the features and their squares.
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, values: Tensor, labels: Tensor) -> None:
        """Add a row for each image to that of its class, always in the same order."""
        if name not in sums:
            sums[name] = values.new_zeros(classes, *values.shape[1:])
        sums[name].index_put_((labels,), values, accumulate=True)

    positions = {}
    count = len(layers_of(network, convolutions))
    for inputs, labels in batches:
        add("count", torch.ones_like(labels, dtype=torch.float64), labels)
        _, features = forward_with_features(network, inputs, count)
        for layer, feature in enumerate(features):
            flat = feature.flatten(2) if feature.dim() > 2 else feature.unsqueeze(2)
            add(f"{layer}.sum", flat.sum(2, dtype=torch.float64), labels)
            add(f"{layer}.square", flat.double().square().sum(2), labels)
            positions[f"{layer}.positions"] = torch.tensor(flat.shape[2], dtype=torch.float64)
    return {name: total.cpu() for name, total in sums.items()} | positions


def references(
    tensors: Mapping[str, Tensor], *, classwise: bool, class_share: float = 1.0
) -> list[Reference]:
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
            moments = mean.float(), variance.float(), class_means.float()
            result.append(Reference(*moments, class_share))
        else:
            total = number.sum()
            mean = first.sum(0) / total
            variance = (second.sum(0) - total * mean.square()) / (total - 1)
            result.append(Reference(mean.float(), variance.float()))
    return result

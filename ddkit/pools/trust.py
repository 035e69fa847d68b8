"""Whether weights from elsewhere know these classes, in this order, from these inputs.

A teacher of another class order or normalisation labels at chance, and nothing fails: what comes
of it is only ten to thirty points worse than it should be.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.seeds import generator

IMAGES = 500  # that accuracy is measured on, two of each class at least
APART = 0.15  # in accuracy, beyond what so few images leave uncertain
BATCH = 64
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def trained_accuracy(network: nn.Module, train: Split, space: InputSpace, where: str) -> float:
    """Return the accuracy (0 … 1) of a trained network, in eval mode, on some training images.

    Raises:
        DdkitError: it is at chance, or another order of the classes or another normalisation of
            the inputs fits clearly better; the line says which, and how to go on.
    """
    network.eval()
    rows, labels = sample(train)
    pixels = train.take(rows).float() / 255
    predicted = predictions(network, pixels, space.encode)
    right = share(predicted, labels)
    chance = 1 / len(train.classes)
    order, reordered = best_order(predicted, labels, len(train.classes))
    text = f"{where} gets {right:.0%} of {len(rows)} training images right"
    goes_on = "or use --trust-base to accept it"
    half = slice(None, None, 2)
    others = {
        share(predictions(network, pixels[half], encode), labels[half]): inputs
        for inputs, encode in (other_inputs(train.shape[0]) if right < 0.5 else {}).items()
    }
    best = max(others, default=0.0)
    if best > max(right + APART, reordered):
        raise DdkitError(
            f"{text}, but {best:.0%} with {others[best]}: it was trained with another "
            f"normalisation than this run has; train it on what --space gives, {goes_on}"
        )
    if reordered > right + APART:
        moved = [name for i, name in enumerate(train.classes) if order[i] != i]
        raise DdkitError(
            f"{text}, but {reordered:.0%} if its classes were in another order than "
            f"{', '.join(train.classes[:4])}, … (these differ: {', '.join(moved[:4])}): were they "
            "sorted as numbers there, and as text here? Name them in the weights' order "
            f"(--classes), {goes_on}"
        )
    if right < chance + APART / 3 and right < 2 * chance + APART / 3:
        raise DdkitError(
            f"{text}, and chance is {chance:.0%}: it was trained on other classes, other images or "
            f"other inputs, or not at all; name other weights, {goes_on}"
        )
    return right


def sample(train: Split) -> tuple[Tensor, Tensor]:
    """Return rows of the split (int64), of every class alike and in turn, and their labels."""
    each = max(2, -(-IMAGES // len(train.classes)))
    columns = []
    for label in range(len(train.classes)):
        members = (train.labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator(0, "trusted images", label))
        columns.append(members[order[torch.arange(each) % len(order)]])
    rows = torch.stack(columns, 1).flatten()
    return rows, train.labels[rows]


@torch.no_grad()
def predictions(network: nn.Module, pixels: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the class (int64) that the network gives each image, float32 in 0 … 1."""
    device = next(network.parameters()).device
    parts = [network(encode(part.to(device))).argmax(1).cpu() for part in pixels.split(BATCH)]
    return torch.cat(parts)


def share(predicted: Tensor, labels: Tensor) -> float:
    """Return how many of the labels are predicted, 0 … 1."""
    return (predicted == labels).float().mean().item()


def best_order(predicted: Tensor, labels: Tensor, classes: int) -> tuple[list[int], float]:
    """Return the order of outputs that fits best, and the accuracy with it.

    It is found on one half of the images and measured on the other: among as many classes as there
    are images any network looks right in some order.

    Returns: for each output the class that it stands for, and the accuracy (0 … 1).
    """
    from scipy.optimize import linear_sum_assignment  # a second to import

    found = torch.arange(len(labels)) // classes % 2 == 0  # `sample` takes the classes in turn
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    counts.index_put_((predicted[found], labels[found]), torch.tensor(1), accumulate=True)
    counts += torch.eye(classes, dtype=torch.int64)  # what is never seen stays where it is
    _, order = linear_sum_assignment(counts.numpy(), maximize=True)
    mapped = torch.from_numpy(order)[predicted]
    return order.tolist(), share(mapped[~found], labels[~found])


def other_inputs(channels: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what networks elsewhere are often trained on, from pixels of 0 … 1."""
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "pixels of 0 to 1 as they are": lambda pixels: pixels,
        "pixels of 0 to 255": lambda pixels: 255 * pixels,
        "pixels of -1 to 1": lambda pixels: 2 * pixels - 1,
    }
    if channels == len(IMAGENET[0]):
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in IMAGENET)
        known["ImageNet's mean and std"] = lambda pixels: (
            (pixels - mean.to(pixels)) / std.to(pixels)
        )
    return known

"""ConvNet, the network of the dataset-condensation line (DC, DSA, MTT, TESLA)."""

from collections import OrderedDict
from typing import Literal

from torch import nn

from ddkit.runtime.errors import DdkitError

Norm = Literal["instance", "batch", "group", "none"]
GROUPS = 4


def convnet(
    classes: int,
    shape: tuple[int, int, int],
    depth: int | None = None,
    width: int = 128,
    norm: Norm = "instance",
) -> nn.Sequential:
    """Return `depth` blocks of convolution, norm, ReLU and average pooling, then a linear layer.

    The convolutions are 3×3 with padding 1; the pooling halves the image.
    The released DC code pads 28×28 images to 32×32 in its first convolution; this one does not.

    Args:
        classes: the number of logits.
        shape: (channels, height, width) of the images.
        depth: the number of blocks; by default it follows from the image size (`default_depth`).
        width: the channels of every convolution.
        norm: "instance" (a GroupNorm with one group per channel, the field's convention), "batch",
            "group" (4 groups) or "none".

    Raises `DdkitError` for a depth that pools the image away and a width the groups don't divide.
    """
    channels, height, breadth = shape
    depth = default_depth(min(height, breadth)) if depth is None else depth
    largest = min(height, breadth).bit_length() - 1
    if not 1 <= depth <= largest:
        raise DdkitError(
            f"a ConvNet for images of {height}×{breadth} pixels cannot have {depth} blocks: each "
            f"halves the image, so the depth is 1 to {largest}"
        )
    if width < 1 or (norm == "group" and width % GROUPS):
        raise DdkitError(
            f"a ConvNet cannot have width {width}: it must be positive and, with norm=group, "
            f"a multiple of {GROUPS}"
        )
    blocks = (_block(channels if index == 0 else width, width, norm) for index in range(depth))
    features = width * (height >> depth) * (breadth >> depth)
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*blocks),
            flatten=nn.Flatten(),
            classifier=nn.Linear(features, classes),
        )
    )


def default_depth(side: int) -> int:
    """Return the depth the field uses for a `side`: 3 at 28 and 32 pixels, 4 at 64, at least 2."""
    return max(2, (side - 1).bit_length() - 2)  # ceil(log2(side)) - 2


def _block(channels: int, width: int, norm: Norm) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module](conv=nn.Conv2d(channels, width, 3, padding=1))
    if norm != "none":
        layers["norm"] = _norm(width, norm)
    layers["relu"] = nn.ReLU(inplace=True)
    layers["pool"] = nn.AvgPool2d(2)
    return nn.Sequential(layers)


def _norm(width: int, norm: Norm) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(width)
    return nn.GroupNorm(width if norm == "instance" else GROUPS, width)

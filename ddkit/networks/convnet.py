"""ConvNet, the network of the dataset-condensation line (DC, DSA, MTT, TESLA)."""

from collections import OrderedDict
from itertools import pairwise
from typing import Literal

from torch import nn

from ddkit.runtime.errors import DdkitError

Norm = Literal["instance", "batch", "group", "none"]
Init = Literal["torch", "lecun"]
Activation = Literal["relu", "softplus"]
SHARPNESS = 60  # of softplus, as in RCIG's code
GROUPS = 4
CUT = 0.87962566  # the standard deviation of a normal one that is cut at ±2


def convnet(
    classes: int,
    shape: tuple[int, int, int],
    depth: int | None = None,
    width: int = 128,
    norm: Norm = "instance",
    growth: int = 1,
    padding: int = 1,
    init: Init = "torch",
    activation: Activation = "relu",
) -> nn.Sequential:
    """Return `depth` blocks of convolution, norm, ReLU and average pooling, then a linear layer.

    The convolutions are 3×3 with padding 1; the pooling halves the image. DC, FRePo and RCIG are
    released with 28×28 images padded to 32×32: that is `padding=3`.

    Args:
        classes: the number of logits.
        shape: (channels, height, width) of the images.
        depth: the number of blocks; by default it follows from the image size (`default_depth`).
        width: the channels of every convolution, or of the first one.
        norm: "instance" (a GroupNorm with one group per channel, the field's convention), "batch",
            "group" (4 groups) or "none".
        growth: how many times wider each block is than the one before; FRePo's is 2.
        padding: of the first convolution.
        init: "torch", its own, or "lecun": normal weights within two standard deviations, of
            variance 1 / inputs, and no biases, as in flax.
        activation: "relu", or "softplus" in its place: log(1 + exp(60 x)) / 60, which has second
            derivatives.

    Raises `DdkitError` for a depth that pools the image away, a width the groups don't divide, and
    growth or padding below 1.
    """
    if growth < 1 or padding < 1:
        raise DdkitError(f"a ConvNet needs growth and padding above 0, not {growth} and {padding}")
    channels, *sides = shape
    height, breadth = (side + 2 * (padding - 1) for side in sides)
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
    widths = [width * growth**index for index in range(depth)]
    blocks = [
        _block(before, after, norm, padding if index == 0 else 1, activation)
        for index, (before, after) in enumerate(pairwise([channels, *widths]))
    ]
    features = widths[-1] * (height >> depth) * (breadth >> depth)
    network = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*blocks),
            flatten=nn.Flatten(),
            classifier=nn.Linear(features, classes),
        )
    )
    return network.apply(_lecun) if init == "lecun" else network


def default_depth(side: int) -> int:
    """Return the depth the field uses for a `side`: 3 at 28 and 32 pixels, 4 at 64, at least 2."""
    return max(2, (side - 1).bit_length() - 2)  # ceil(log2(side)) - 2


def _block(
    channels: int, width: int, norm: Norm, padding: int, activation: Activation
) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, 3, padding=padding)
    layers = OrderedDict[str, nn.Module](conv=conv)
    if norm != "none":
        layers["norm"] = _norm(width, norm)
    layers[activation] = nn.ReLU(inplace=True) if activation == "relu" else nn.Softplus(SHARPNESS)
    layers["pool"] = nn.AvgPool2d(2)
    return nn.Sequential(layers)


def _lecun(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
        std = layer.weight[0].numel() ** -0.5 / CUT
        nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(layer.bias)


def _norm(width: int, norm: Norm) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(width)
    return nn.GroupNorm(width if norm == "instance" else GROUPS, width)

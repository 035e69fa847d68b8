"""torchvision's networks, untrained, for any number of channels and for small images too."""

from torch import nn

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.vision import torchvision

Shape = tuple[int, int, int]


def resnet18(classes: int, shape: Shape) -> nn.Module:
    """ResNet-18 with ImageNet's stem: 7×7, stride 2, max-pooling."""
    return _convolutional("resnet18", classes, shape)


def resnet50(classes: int, shape: Shape) -> nn.Module:
    """ResNet-50 with ImageNet's stem."""
    return _convolutional("resnet50", classes, shape)


def resnet101(classes: int, shape: Shape) -> nn.Module:
    """ResNet-101 with ImageNet's stem."""
    return _convolutional("resnet101", classes, shape)


def densenet121(classes: int, shape: Shape) -> nn.Module:
    """DenseNet-121, from 29 pixels on."""
    return _convolutional("densenet121", classes, shape, smallest=29)


def mobilenet_v2(classes: int, shape: Shape) -> nn.Module:
    """MobileNetV2."""
    return _convolutional("mobilenet_v2", classes, shape)


def shufflenet_v2(classes: int, shape: Shape, width: float = 1.0) -> nn.Module:
    """ShuffleNetV2 of width 0.5, 1, 1.5 or 2."""
    if width not in (0.5, 1.0, 1.5, 2.0):
        raise DdkitError(f"shufflenet_v2 has the widths 0.5, 1, 1.5 and 2, not {width:g}")
    return _convolutional(f"shufflenet_v2_x{width:.1f}".replace(".", "_"), classes, shape)


def efficientnet_b0(classes: int, shape: Shape) -> nn.Module:
    """EfficientNet-B0."""
    return _convolutional("efficientnet_b0", classes, shape)


def vgg11(classes: int, shape: Shape) -> nn.Module:
    """VGG-11 with batch norm and the full classifier (129 million weights), from 32 pixels on."""
    return _convolutional("vgg11_bn", classes, shape, smallest=32)


def vit(
    classes: int,
    shape: Shape,
    depth: int = 12,
    width: int = 192,
    heads: int = 3,
    patch: int | None = None,
) -> nn.Module:
    """Return a vision transformer for square images of at least 4×4 pixels.

    The defaults are ViT-Tiny; ViT-B is `vit:width=768:heads=12`. The head starts at zero, so the
    first logits are all zero.

    Args:
        classes: the number of logits.
        shape: (channels, side, side).
        depth, width, heads: encoder layers, token size (a multiple of the heads), attention heads.
        patch: the side of a patch in pixels, a divisor of the image's; by default the one that
            comes nearest to 8×8 patches, or to 14×14 from 224 pixels on (where it is 16).

    Raises `DdkitError` for images and options that do not fit.
    """
    channels, side, other = shape
    _refuse_small("vit", shape, smallest=4)
    if side != other:
        raise DdkitError(f"vit needs square images; these have {side}×{other} pixels")
    if min(depth, width, heads) < 1 or width % heads:
        raise DdkitError(
            f"vit needs positive depth and heads and a width that is a multiple of the heads; "
            f"these are depth {depth}, heads {heads} and width {width}"
        )
    patch = default_patch(side) if patch is None else patch
    if patch < 1 or side % patch:
        raise DdkitError(f"vit cannot cut images of {side} pixels into patches of {patch} pixels")
    network: nn.Module = torchvision().models.VisionTransformer(
        image_size=side,
        patch_size=patch,
        num_layers=depth,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
        num_classes=classes,
    )
    if channels != 3:
        stem = _replace_stem(network, channels)
        nn.init.trunc_normal_(stem.weight, std=(channels * patch**2) ** -0.5)  # as torchvision does
        nn.init.zeros_(stem.bias)  # type: ignore[arg-type]
    return network


def default_patch(side: int) -> int:
    """Return the divisor of `side` that comes nearest to 8×8 patches, or 14×14 from 224 pixels on.

    Fewer than 4×4 patches are never chosen: a prime side gives patches of one pixel.
    """
    grid = 14 if side >= 224 else 8
    divisors = [patch for patch in range(1, side // 4 + 1) if side % patch == 0]
    return min(divisors, key=lambda patch: abs(side // patch - grid))


def _convolutional(name: str, classes: int, shape: Shape, smallest: int = 1) -> nn.Module:
    _refuse_small(f"torchvision's {name}", shape, smallest)
    network: nn.Module = getattr(torchvision().models, name)(weights=None, num_classes=classes)
    if shape[0] != 3:
        stem = _replace_stem(network, shape[0])
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    return network


def _refuse_small(name: str, shape: Shape, smallest: int) -> None:
    _, height, width = shape
    if min(height, width) < smallest:
        raise DdkitError(
            f"{name} needs images of at least {smallest}×{smallest} pixels; "
            f"these have {height}×{width}"
        )


def _replace_stem(network: nn.Module, channels: int) -> nn.Conv2d:
    """Replace the first convolution by one for `channels` channels that is otherwise the same."""
    path, old = next((p, m) for p, m in network.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    network.set_submodule(path, new)
    return new

"""ResNet-18 for small images."""

from torch import nn

from ddkit.runtime.vision import torchvision


def resnet18(classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Return a ResNet-18 whose stem keeps the resolution: 3×3, stride 1, no max-pooling.

    This is the network of MoCo on CIFAR and of SRe²L on images of 32 and 64 pixels; the one with
    ImageNet's stem is `torchvision-resnet18`. Images of any size and number of channels will do.
    """
    network: nn.Module = torchvision().models.resnet18(weights=None, num_classes=classes)
    network.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network

import pytest
import torch
from torch import nn

from ddkit.networks.convnet import default_depth
from ddkit.runtime.errors import DdkitError


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_fields_convnet_on_cifar_has_its_known_size(build):
    # 3·9·128+128, twice 128·9·128+128, three norms of 2·128, and 128·4·4·10+10
    assert parameters(build("convnet")) == 3_584 + 2 * 147_584 + 768 + 20_490 == 320_010


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        # 1·9·16+16 + 16·9·16+16, norms 2·2·16, 16·7·7·10+10
        ("convnet:depth=2:width=16", (1, 28, 28), 160 + 2_320 + 64 + 7_850),
        ("convnet:depth=2:width=16:norm=batch", (1, 28, 28), 160 + 2_320 + 64 + 7_850),
        ("convnet:depth=2:width=16:norm=none", (1, 28, 28), 160 + 2_320 + 7_850),
        # 4 and 8 channels, 28 padded to 32: 1·9·4+4 + 4·9·8+8, 8·8·8·10+10
        ("convnet:depth=2:width=4:growth=2:padding=3:norm=none", (1, 28, 28), 40 + 296 + 5_130),
        # 2·9·4+4, a norm of 2·4, and height 9 → 4, width 6 → 3: 4·4·3·10+10
        ("convnet:depth=1:width=4:norm=group", (2, 9, 6), 76 + 8 + 490),
    ],
)
def test_the_parameter_count_follows_from_depth_width_and_norm(build, spec, shape, expected):
    network = build(spec, shape=shape)
    assert parameters(network) == expected
    assert network(torch.zeros(2, *shape)).shape == (2, 10)


def test_lecun_weights_have_the_variance_of_their_inputs_and_no_tails(build):
    network = build("convnet:depth=2:width=64:growth=2:norm=none:init=lecun")
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer, inputs in zip(layers, (3 * 9, 64 * 9, 128 * 8 * 8), strict=True):
        std = inputs**-0.5
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert layer.weight.abs().max() <= 2 * std / 0.8796  # before it was cut
        assert not layer.bias.any()


def test_softplus_is_the_rectifier_with_a_rounded_corner(build):
    network = build("convnet:activation=softplus:norm=none")
    assert not any(isinstance(m, nn.ReLU) for m in network.modules())
    (softplus, *_) = [m for m in network.modules() if isinstance(m, nn.Softplus)]
    x = torch.tensor([-1.0, -0.02, 0.0, 0.02, 1.0], dtype=torch.float64)
    expected = torch.log(1 + torch.exp(60 * x)) / 60
    torch.testing.assert_close(softplus(x), expected, rtol=0, atol=1e-10)
    same = build("convnet:activation=relu:norm=none")
    assert [*same.state_dict()] == [*network.state_dict()]


@pytest.mark.parametrize("option", ["growth", "padding"])
def test_growth_and_padding_are_above_0(build, option):
    with pytest.raises(DdkitError, match="needs growth and padding above 0, not"):
        build(f"convnet:{option}=0")


@pytest.mark.parametrize(
    ("side", "depth"), [(8, 2), (14, 2), (28, 3), (32, 3), (33, 4), (64, 4), (128, 5), (224, 6)]
)
def test_the_default_depth_follows_from_the_image_size(side, depth, build):
    assert default_depth(side) == depth
    layers = build("convnet", shape=(1, side, side), meta=True).modules()
    assert sum(isinstance(m, nn.Conv2d) for m in layers) == depth


@pytest.mark.parametrize(("norm", "groups"), [("instance", 8), ("group", 4)])
def test_instance_norm_is_a_group_norm_of_single_channels(norm, groups, build):
    found = [
        m for m in build(f"convnet:width=8:norm={norm}").modules() if isinstance(m, nn.GroupNorm)
    ]
    assert [(m.num_groups, m.affine) for m in found] == [(groups, True)] * 3


def test_a_block_is_convolution_norm_relu_and_average_pooling(build):
    kinds = [type(layer) for layer in build("convnet:norm=batch").features[0]]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.AvgPool2d]


def test_a_step_on_the_images_reaches_every_pixel(build):
    images = torch.rand(
        2, 3, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    build("convnet")(images).square().sum().backward()
    assert images.grad.ne(0).float().mean() > 0.99


@pytest.mark.parametrize("depth", [1, 5])
def test_the_depths_that_the_image_allows_work(depth, build):
    assert build(f"convnet:depth={depth}")(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "convnet:depth=6",
            "a ConvNet for images of 32×40 pixels cannot have 6 blocks: each halves the image, "
            "so the depth is 1 to 5",
        ),
        (
            "convnet:depth=0",
            "a ConvNet for images of 32×40 pixels cannot have 0 blocks: each halves the image, "
            "so the depth is 1 to 5",
        ),
        (
            "convnet:width=6:norm=group",
            "a ConvNet cannot have width 6: it must be positive and, with norm=group, "
            "a multiple of 4",
        ),
        (
            "convnet:width=0",
            "a ConvNet cannot have width 0: it must be positive and, with norm=group, "
            "a multiple of 4",
        ),
        ("convnet:norm=bath", "unknown norm 'bath': did you mean 'batch'? (of network 'convnet')"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(spec, message, build):
    with pytest.raises(DdkitError) as caught:
        build(spec, shape=(3, 32, 40))
    assert str(caught.value) == message

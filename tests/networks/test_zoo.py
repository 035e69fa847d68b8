import pytest
import torch
from torch import nn
from torchvision import models

from ddkit.networks import NETWORKS
from ddkit.networks.zoo import default_patch
from ddkit.runtime.errors import DdkitError

SMALLEST = {"convnet": 4, "densenet121": 29, "vgg11": 32, "vit": 4}
HEAVY = {
    "resnet50",
    "resnet101",
    "vgg11",
}  # their shapes are checked on the meta device, without weights


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def refusal(build, spec: str, **arguments) -> str:
    with pytest.raises(DdkitError) as caught:
        build(spec, meta=True, **arguments)
    return str(caught.value)


OURS = sorted(NETWORKS.builtins.keys() - {"timm"})  # which needs a name of its own


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OURS)
def test_every_network_gives_logits_at_its_smallest_size(name, channels, build):
    side = SMALLEST.get(name, 8)
    shape = (channels, side, side)
    network = build(name, shape=shape, classes=7, meta=name in HEAVY)
    images = torch.ones(2, *shape, device=next(network.parameters()).device)
    logits = network(images)
    assert logits.shape == (2, 7)
    assert logits.is_meta or logits.isfinite().all()


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 224, 224)])
def test_every_network_takes_ordinary_sizes(name, shape, build):
    images = torch.zeros(2, *shape, device="meta")
    assert build(name, shape=shape, meta=True)(images).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("torchvision-resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("densenet121", 7_978_856),
        ("mobilenet_v2", 3_504_872),
        ("shufflenet_v2", 2_278_604),
        ("shufflenet_v2:width=0.5", 1_366_792),
        ("efficientnet_b0", 5_288_548),
        ("vgg11", 132_868_840),
        # ViT-B/16; the published ViT-Tiny/16 has 5.7 million
        ("vit:width=768:heads=12", 86_567_656),
        ("vit", 5_717_416),
    ],
)
def test_torchvisions_networks_have_their_published_parameter_counts(name, count, build):
    assert parameters(build(name, shape=(3, 224, 224), classes=1000, meta=True)) == count


def test_a_shufflenet_of_a_width_that_is_none_is_refused(build):
    with pytest.raises(DdkitError, match=r"the widths 0.5, 1, 1.5 and 2, not 0.7"):
        build("shufflenet_v2:width=0.7", meta=True)


def test_the_small_resnet_keeps_the_resolution_up_to_its_first_stage(build):
    network = build("resnet18", meta=True)
    sizes = []
    network.layer1.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape)))
    network(torch.zeros(1, 3, 32, 32, device="meta"))
    assert sizes == [(1, 64, 32, 32)]


@pytest.mark.parametrize(("channels", "stem"), [(1, 576), (3, 1_728), (4, 2_304)])
def test_the_small_resnet_differs_from_imagenets_in_the_stem_alone(channels, stem, build):
    # torchvision's at 10 classes: 11,689,512 - 990·513; its stem has 64·3·7·7 weights
    rest = 11_689_512 - 990 * 513 - 9_408
    assert parameters(build("resnet18", shape=(channels, 32, 32), meta=True)) == rest + stem


def test_the_stem_for_other_channels_keeps_everything_else(build):
    stem = build("torchvision-resnet18", shape=(1, 32, 32)).conv1
    assert (stem.in_channels, stem.out_channels, stem.bias) == (1, 64, None)
    assert (stem.kernel_size, stem.stride, stem.padding) == ((7, 7), (2, 2), (3, 3))


@pytest.mark.parametrize("name", ["torchvision-resnet18", "mobilenet_v2", "vit:depth=1"])
def test_the_stem_for_other_channels_is_scaled_as_torchvision_scales_its_own(name, build):
    def spread(channels):
        network = build(name, shape=(channels, 32, 32))
        return next(m for m in network.modules() if isinstance(m, nn.Conv2d)).weight.std().item()

    # kaiming fan-out is blind to the input channels; the transformer's fan-in scale is not
    expected = spread(3) * (3**0.5 if name.startswith("vit") else 1)
    assert spread(1) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("name", "model"), [("densenet121", "densenet121"), ("vgg11", "vgg11_bn")])
def test_an_image_too_small_is_refused_with_the_smallest_size(name, model, build):
    smallest = SMALLEST[name]
    shape = (3, smallest + 9, smallest - 1)
    assert refusal(build, name, shape=shape) == (
        f"torchvision's {model} needs images of at least {smallest}×{smallest} pixels; "
        f"these have {smallest + 9}×{smallest - 1}"
    )
    with torch.device("meta"), pytest.raises(RuntimeError, match="Output size is too small"):
        getattr(models, model)(weights=None)(torch.zeros(2, *shape))


@pytest.mark.parametrize(
    ("side", "patch"), [(4, 1), (8, 1), (14, 2), (28, 4), (32, 4), (64, 8), (96, 12), (224, 16)]
)
def test_patches_follow_from_the_image_size(side, patch):
    assert default_patch(side) == patch


def test_a_prime_side_never_becomes_a_single_patch():
    assert default_patch(29) == 1


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("vit", (3, 3, 3), "vit needs images of at least 4×4 pixels; these have 3×3"),
        ("vit", (3, 32, 40), "vit needs square images; these have 32×40 pixels"),
        (
            "vit:patch=5",
            (3, 32, 32),
            "vit cannot cut images of 32 pixels into patches of 5 pixels",
        ),
        (
            "vit:heads=5",
            (3, 32, 32),
            "vit needs positive depth and heads and a width that is a multiple of the heads; "
            "these are depth 12, heads 5 and width 192",
        ),
    ],
)
def test_a_transformer_that_does_not_fit_is_refused_in_one_line(spec, shape, message, build):
    assert refusal(build, spec, shape=shape) == message

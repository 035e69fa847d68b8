"""timm's networks by name, untrained."""

import importlib.metadata
import sys

import pytest
import torch

from ddkit.networks import create, parse, spec_fingerprint
from ddkit.networks.features import last_linear_input
from ddkit.runtime.errors import DdkitError

SMALL = "mobilenetv3_small_050"


def made(name: str, shape=(3, 16, 16), seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    return create(f"timm:{name}", classes=5, shape=shape, generator=generator)


def test_a_network_is_timms_own_for_any_channels_with_weights_of_the_generator():
    import timm

    network = made(SMALL, (1, 16, 16))
    theirs = timm.create_model(SMALL, num_classes=5, in_chans=1)
    assert network.state_dict().keys() == theirs.state_dict().keys()
    assert network.training
    images = torch.rand(2, 1, 16, 16)
    assert network.eval()(images).shape == (2, 5)
    assert last_linear_input(network, images).shape[0] == 2
    again, other = made(SMALL, (1, 16, 16)), made(SMALL, (1, 16, 16), seed=1)
    assert torch.equal(again.eval()(images), network(images))
    assert not torch.equal(other.eval()(images), network(images))


def test_a_transformer_is_made_for_the_size_of_the_images():
    assert made("vit_tiny_patch16_224", (3, 32, 32)).patch_embed.img_size == (32, 32)


def test_as_a_skeleton_it_holds_no_weights():
    network = create(f"timm:{SMALL}", classes=5, shape=(3, 16, 16), meta=True)
    assert {weight.device.type for weight in network.parameters()} == {"meta"}


def test_messages_and_caches_name_it_with_its_version():
    version = importlib.metadata.version("timm")
    assert parse(f"timm:{SMALL}").title == f"timm:{SMALL}"
    assert spec_fingerprint(f"timm:{SMALL}") == f"timm:{SMALL}@timm {version}"


@pytest.mark.parametrize(
    ("name", "shape", "line"),
    [
        ("resnet18q", (3, 16, 16), "has no network 'resnet18q'; close: resnet18"),
        ("densenet121", (3, 8, 8), "timm's densenet121 takes no images of 8×8 pixels with 3"),
    ],
)
def test_what_there_is_not_is_refused_in_a_line(name, shape, line):
    with pytest.raises(DdkitError) as error:
        made(name, shape)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_without_timm_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(DdkitError, match=r"timm's networks need timm: pip install 'ddkit\[timm\]'"):
        made(SMALL)

import pytest
import torch
from torch import nn

from ddkit.networks import batch_norms, create


def weights(network: nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


@pytest.mark.parametrize("spec", ["convnet:depth=2:width=8", "shufflenet_v2", "vit:depth=1"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(spec, build):
    assert weights(build(spec, seed=1)) == weights(build(spec, seed=1))
    assert weights(build(spec, seed=1)) != weights(build(spec, seed=2))


def test_the_weights_do_not_depend_on_the_global_generator(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = weights(build("convnet"))
        torch.manual_seed(2)
        assert weights(build("convnet")) == first


def test_one_generator_gives_one_network_after_another():
    generator = torch.Generator().manual_seed(0)
    first, second = (
        create("convnet", classes=2, shape=(1, 8, 8), generator=generator) for _ in range(2)
    )
    assert weights(first) != weights(second)


@pytest.mark.parametrize("meta", [False, True])
def test_the_global_generators_stay_untouched(meta, build, monkeypatch):
    def seeded_every_device(seed):
        raise AssertionError("CUDA generators were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded_every_device)
    before = torch.get_rng_state()
    build("convnet", meta=meta)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_is_float32_on_the_cpu_in_train_mode_whatever_surrounds_it(build):
    with torch.device("meta"):
        network = build("convnet")
    assert network.training
    assert {(p.dtype, p.device.type) for p in network.parameters()} == {(torch.float32, "cpu")}


def test_weights_need_a_generator():
    with pytest.raises(ValueError, match="needs a generator for the weights, or meta=True"):
        create("convnet", classes=2, shape=(1, 8, 8))


def test_a_skeleton_holds_no_weights_and_takes_those_of_another(build):
    network = build("convnet:norm=batch")
    skeleton = create("convnet:norm=batch", classes=10, shape=(3, 32, 32), meta=True)
    assert skeleton.training
    assert all(value.is_meta for value in skeleton.state_dict().values())
    skeleton.load_state_dict(network.state_dict(), assign=True)
    assert weights(skeleton) == weights(network)


def test_batch_norms_are_found_in_the_order_an_image_passes_them(build):
    network = build("resnet18").eval()
    passed = []
    for layer in network.modules():
        layer.register_forward_hook(lambda layer, *_: passed.append(layer))
    network(torch.zeros(1, 3, 8, 8))
    found = batch_norms(network)
    assert len(found) == 20
    # a block's shortcut comes last among its layers, in torchvision's code and in its forward pass
    assert found == [layer for layer in passed if isinstance(layer, nn.BatchNorm2d)]


def test_batch_norms_leave_other_norms_out_and_take_subclasses():
    class Pruned(nn.BatchNorm2d):
        pass

    layers = [nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.InstanceNorm2d(2), Pruned(2)]
    assert batch_norms(nn.Sequential(*layers)) == [layers[0], layers[3]]

"""What `ddkit train` keeps is a network that others can use."""

import pytest
import torch
from safetensors.torch import load_file

from ddkit import DdkitError, HardLabels, Synthetic, load, load_network, networks
from ddkit.data.space import InputSpace
from ddkit.distilled.writing import write_distilled
from ddkit.networks.saved import save_network


@pytest.fixture
def distilled(tmp_path, make_split):
    def make(kind="standard"):
        split = make_split()
        images = Synthetic(split.images, split.labels)
        path = tmp_path / f"{kind}.safetensors"
        about = {"classes": list(split.classes), "mirror": True, "network": "convnet:width=4"}
        write_distilled(path, images, HardLabels(split.labels), InputSpace.fit(split, kind), about)
        return load(path)

    return make


def made(distilled, spec):
    generator = torch.Generator().manual_seed(3)
    return networks.create(
        spec, classes=len(distilled.class_names), shape=distilled.shape, generator=generator
    )


def about(data):
    """Return what is stored with a network that was trained on a set."""
    return data.space, data.class_names, data.shape, {}


@pytest.mark.parametrize("kind", ["standard", "zca"])
def test_saved_and_loaded_it_answers_alike(distilled, tmp_path, kind):
    data = distilled(kind)
    network = made(data, "convnet:width=4:norm=batch")
    save_network(tmp_path / "w.safetensors", network, "convnet:width=4:norm=batch", *about(data))
    again, space = load_network(tmp_path / "w.safetensors")
    pixels = data.pixels(torch.arange(4))
    expected = network.eval()(data.space.encode(pixels))
    torch.testing.assert_close(again(space.encode(pixels)), expected)


def test_plain_torch_takes_the_weights(distilled, tmp_path):
    data = distilled()
    network = made(data, "convnet:width=4")
    save_network(tmp_path / "w.safetensors", network, "convnet:width=4", *about(data))
    made(data, "convnet:width=4").load_state_dict(load_file(tmp_path / "w.safetensors"))


def test_a_file_of_code_is_not_executed_because_a_file_names_it(distilled, tmp_path, monkeypatch):
    data = distilled()
    (tmp_path / "evil.py").write_text("open('sprung', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    save_network(
        tmp_path / "w.safetensors", made(data, "convnet:width=4"), "evil.py:make", *about(data)
    )
    with pytest.raises(DdkitError, match="build it yourself"):
        load_network(tmp_path / "w.safetensors")
    assert not (tmp_path / "sprung").exists()

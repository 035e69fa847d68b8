"""Wrong options get one line and exit code 1, and leave no folder behind."""

import pytest
import torch

from ddkit.data.split import Split

FEATURELESS = """
from torch import nn

def make(classes, shape):
    return nn.Sequential(nn.Conv2d(shape[0], classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--memory-budget", "1GB"], ["--memory-budget", "'dc' cannot adapt to one"]),
        (["--groups", "2"], ["--groups 2 is more than the 1 images per class"]),
        (["--set", "match=features"], ["option 'match'", "'distribution'", "got 'features'"]),
        (["--set", "augmentation=flip"], ["option 'augmentation'", "'dsa'", "got 'flip'"]),
        (["--set", "updates=-1"], ["option 'updates'", "greater than or equal to 0", "got -1"]),
        (["--set", "batch_real=0"], ["option 'batch_real'", "greater than or equal to 1", "got 0"]),
        (["--set", "lr_images=0"], ["option 'lr_images'", "greater than 0"]),
        (["--set", "inner_loop=2"], ["'inner_loop'", "did you mean"]),
        (["--preset", "cifar10-ipc2"], ["unknown preset 'cifar10-ipc2'", "did you mean"]),
    ],
)
def test_wrong_flags_get_one_line(refused, tmp_path, flags, words):
    line = refused(*flags)
    for word in words:
        assert word in line
    assert not (tmp_path / "run").exists()


def test_distributions_of_a_network_without_features_are_refused(refused, tmp_path):
    (tmp_path / "net.py").write_text(FEATURELESS)
    line = refused("--network", "./net.py:make", method="dm")
    assert "the network does not end in a linear layer" in line
    assert "--network" in line
    assert not (tmp_path / "run").exists()


def test_a_class_without_real_images_is_refused_though_images_start_as_noise(
    refused, tmp_path, monkeypatch
):
    empty = Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), ("a", "b"))
    monkeypatch.setattr("ddkit.data.sources.load.load", lambda *_, **__: empty)
    line = refused("--init", "noise")
    assert "class 'b' has no training images to match: leave it out (--classes)" in line
    assert not (tmp_path / "run").exists()


def test_a_misspelt_method_is_told_its_name(refused):
    assert "did you mean 'dsa'?" in refused(method="dsaa")

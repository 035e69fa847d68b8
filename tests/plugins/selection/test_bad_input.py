"""Wrong options get one line and exit code 1, and leave no folder and no pool behind."""

import pytest

from ddkit.runtime.cache import cache_folder

FEATURELESS = """
from torch import nn

def make(classes, shape):
    return nn.Sequential(nn.Conv2d(shape[0], classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--init", "noise"],
            ["--init noise: the method 'herding' chooses the real images itself: leave --init out"],
        ),
        (["--short-classes", "noise"], ["noise cannot be selected; repeat images instead"]),
        (["--ipc", "1000"], ["class '8' has ", "fewer than --ipc 1000: lower --ipc"]),
        (
            ["--memory-budget", "9kB"],
            [
                "--memory-budget 9.0 kB is too small: choosing from the ",
                " images of a class needs ",
                "; lower teachers, or --set features=pixels",
            ],
        ),
        (["--groups", "2"], ["--groups 2 is more than the 1 images per class"]),
        (["--set", "rule=forgetting"], ["option 'rule'", "'k-center'", "got 'forgetting'"]),
        (["--set", "features=logits"], ["option 'features'", "'pixels'", "got 'logits'"]),
        (["--set", "teachers=0"], ["option 'teachers'", "greater than or equal to 1", "got 0"]),
        (["--set", "train_epochs=0"], ["option 'train_epochs'", "greater than or equal to 1"]),
        (["--set", "train_schedule=step:0"], ["option 'train_schedule'", "step:0"]),
        (["--set", "teacher=2"], ["'teacher'", "did you mean 'teachers'?"]),
        (["--set", "pool.features=pixels"], ["the pool has 0 (its members are none)"]),
        (
            ["--pool-from", "tesla"],
            [
                "features of networks need members of the role teacher, but the pool of 'tesla' "
                "has expert"
            ],
        ),
    ],
)
def test_wrong_flags_get_one_line_before_a_network_is_trained(refused, tmp_path, flags, words):
    line = refused(*flags)
    for word in words:
        assert word in line
    assert not (tmp_path / "run").exists()
    assert not cache_folder("pools").exists()


def test_a_network_without_features_is_refused_before_it_is_trained(refused, tmp_path):
    (tmp_path / "net.py").write_text(FEATURELESS)
    line = refused("--network", "./net.py:make")
    assert "the network does not end in a linear layer" in line
    assert "--set features=pixels" in line
    assert not (tmp_path / "run").exists()
    assert not cache_folder("pools").exists()


@pytest.mark.parametrize(("near", "name"), [("hearding", "herding"), ("kcenter", "k-center")])
def test_a_misspelt_rule_is_told_its_name(refused, near, name):
    assert f"did you mean '{name}'?" in refused(method=near)

import pytest
import torch

from ddkit.runtime.errors import DdkitError

GOOD = """
from torch import nn

def make(classes: int, shape: tuple[int, int, int], width: int = 4) -> nn.Module:
    channels, height, breadth = shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * breadth, width),
        nn.BatchNorm1d(width),
        nn.Linear(width, classes),
    )
"""


def refusal(build, spec: str) -> str:
    with pytest.raises(DdkitError) as caught:
        build(spec, shape=(1, 4, 4))
    return str(caught.value)


def test_a_factory_in_a_file_is_a_network_with_options(write, build):
    write(GOOD)
    network = build("net.py:make:width=6", shape=(1, 4, 4), classes=3)
    assert network[1].weight.shape == (6, 16)
    assert network.training


def test_looking_at_a_network_leaves_its_batch_norm_statistics_alone(write, build):
    write(GOOD)
    assert build("net.py:make", shape=(1, 4, 4))[2].num_batches_tracked == 0


def test_the_weights_follow_from_the_seed_even_if_the_file_draws_while_it_is_imported(write, build):
    write("import torch\ntorch.rand(3)\n" + GOOD)
    before = torch.get_rng_state()
    first, again, other = (build("net.py:make", seed=seed)[1].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_edited_file_is_read_again_and_leaves_nothing_beside_it(write, build, tmp_path):
    write(GOOD)
    build("net.py:make")
    write(GOOD.replace("width: int = 4", "width: int = 5"))
    assert build("net.py:make")[1].out_features == 5
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]


def test_a_class_that_is_a_dataclass_with_text_annotations_is_a_factory(write, build):
    write(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "@dataclass(eq=False)\n"
        "class Net(nn.Module):\n"
        "    classes: int\n"
        "    shape: tuple\n"
        "    width: int = 3\n"
        "    def __post_init__(self):\n"
        "        super().__init__()\n"
        "        self.linear = nn.LazyLinear(self.classes)\n"
        "    def forward(self, images):\n"
        "        return self.linear(images.flatten(1))\n"
    )
    network = build("net.py:Net:width=7", shape=(1, 4, 4))
    assert network.width == 7
    assert network.linear.weight.shape == (10, 16)


def test_a_double_precision_network_becomes_float32(write, build):
    write(GOOD.replace("    )\n", "    ).double()\n"))
    assert {p.dtype for p in build("net.py:make").parameters()} == {torch.float32}


def test_a_skeleton_is_built_without_weights(write, build):
    write(GOOD)
    assert all(p.is_meta for p in build("net.py:make", meta=True).parameters())


def test_a_missing_file_is_refused(tmp_path, monkeypatch, build):
    monkeypatch.chdir(tmp_path)
    message = f"there is no network file 'net.py' (looked in {tmp_path})"
    assert refusal(build, "net.py:make") == message


def test_a_folder_is_refused(tmp_path, monkeypatch, build):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").mkdir()
    message = "the network file 'net.py' cannot be read: Is a directory"
    assert refusal(build, "net.py:make") == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\nimport nowhere_to_be_found",
            "the network file 'net.py' cannot be imported (line 2): "
            "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        (
            "raise ValueError('two\\n  lines')",
            "the network file 'net.py' cannot be imported (line 1): ValueError: two lines",
        ),
        (
            "def make(:",
            "the network file 'net.py' cannot be imported: "
            "SyntaxError: invalid syntax (net.py, line 1)",
        ),
        (
            "raise SystemExit(3)",
            "the network file 'net.py' cannot be imported (line 1): SystemExit: 3",
        ),
        (
            "from torch import nn\ndef made(classes, shape): ...",
            "unknown factory 'make': did you mean 'made'? (in net.py)",
        ),
        ("x = 1", "unknown factory 'make': known are: none (in net.py)"),
        ("from shutil import make_archive", "unknown factory 'make': known are: none (in net.py)"),
        ("make = 1", "unknown factory 'make': known are: none (in net.py)"),
        (
            "def make(classes, shape):\n    return classes / 0",
            "the network file 'net.py' fails in make (line 2): ZeroDivisionError: division by zero",
        ),
        (
            "def make(classes, shape): return classes",
            "network 'net.py:make' must return an nn.Module, not int",
        ),
        (
            "from torch import nn\ndef make(classes, shape): return nn.Flatten()",
            "the network file 'net.py' builds a network that turns 2 images of shape (1, 4, 4) "
            "into a tensor of shape (2, 16); it must return logits of shape (2, 10)",
        ),
        (
            "from torch import nn\n"
            "class Pair(nn.Module):\n    def forward(self, images): return images, images\n"
            "def make(classes, shape): return Pair()",
            "the network file 'net.py' builds a network that turns 2 images of shape (1, 4, 4) "
            "into a tuple; it must return logits of shape (2, 10)",
        ),
        (
            "from torch import nn\n"
            "class Picky(nn.Module):\n    def forward(self, x): raise ValueError('too small')\n"
            "def make(classes, shape): return Picky()",
            "the network file 'net.py' builds a network that fails on images of shape (1, 4, 4) "
            "(line 3): ValueError: too small",
        ),
        (
            GOOD.replace("width", "depth"),
            "unknown option 'width': known are: depth (of network 'net.py:make')",
        ),
    ],
)
def test_a_file_that_does_not_work_is_refused_in_one_line(text, message, write, build):
    write(text)
    spec = "net.py:make:width=3" if "depth" in text else "net.py:make"
    assert refusal(build, spec) == message


def test_a_file_that_failed_is_tried_again(write, build, tmp_path):
    write("from pathlib import Path\nPath('ready').stat()\n" + GOOD)
    assert "FileNotFoundError" in refusal(build, "net.py:make")
    (tmp_path / "ready").touch()
    assert build("net.py:make") is not None

"""A preset of each kind of APM runs two rounds, and the published ones are the table."""

import pytest
import torch

from ddkit import networks
from ddkit.data.split import Split
from ddkit.distilled.dataset import load
from ddkit.methods.plugin import lookup
from ddkit.methods.presets import find_preset, preset_names
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.tensors import TensorFile

METHODS = ("apm",)
SHRINK = {
    "teachers": 1,
    "train_epochs": 1,
    "train_batch": 8,
    "rounds": 2,
    "student_epochs": 2,
    "checkpoints": 2,
    "evaluation_epochs": 1,
}


def made() -> Split:
    """Return 16 grey images of 32 px: ZCA of coloured ones takes a minute for all the presets."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 1, 32, 32), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.arange(16) % 2, ("a", "b"))


def test_a_preset_runs_two_rounds(preset, tmp_path, monkeypatch):
    """What it sets is kept, but for sizes: two classes, 32 px, teachers of one epoch."""
    monkeypatch.setattr("ddkit.data.sources.load.load", lambda *_, **__: made())
    method, name = preset
    options = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)["options"]
    sizes = {**SHRINK, "batch_syn": min(1, options.get("batch_syn", 0))}
    settings = [f"{key}={value}" for key, value in sizes.items()]
    flags = {"ipc": 1, "threads": 1, "network": "convnet:width=8"}
    config = resolve(Request(method, flags, {"name": "made", "resize": 32}, settings, name))
    assert {"lr_images", "lr_student"} <= options.keys()
    distilled = load(pipeline.distill(config, tmp_path / "run"))
    assert len(distilled) == 2
    assert distilled.space.kind == config.data.space
    assert distilled.labels.kind == "soft"
    file = TensorFile(tmp_path / "run" / "shards" / "shard-00000.safetensors")
    assert len(file["losses"]) == 2
    assert torch.isfinite(file["losses"]).all()
    assert (file["images"] != file["initial"]).any()


# lr_images, lr_student, evaluation_epochs, batch_syn, space, depth of the network
TABLE = {
    "cifar10-ipc50": (1, 0.02, 1000, 0, "zca", 3),
    "cifar10-ipc500": (1, 0.02, 1000, 2500, "zca", 3),
    "cifar10-ipc1000": (1, 0.02, 600, 2500, "zca", 3),
    "cifar100-ipc10": (1, 0.02, 1000, 0, "zca", 3),
    "cifar100-ipc50": (1, 0.04, 1000, 2500, "zca", 3),
    "cifar100-ipc100": (1, 0.04, 600, 2500, "zca", 3),
    "tiny-imagenet-ipc10": (20, 0.1, 1000, 500, "standard", 4),
    "tiny-imagenet-ipc50": (40, 0.1, 1000, 500, "standard", 4),
    "tiny-imagenet-ipc100": (40, 0.1, 600, 500, "standard", 4),
    "imagenet-1k-64-ipc10": (20, 0.1, 1000, 500, "standard", 4),
    "imagenet-1k-64-ipc50": (20, 0.1, 600, 500, "standard", 4),
    "imagenet-1k-64-ipc100": (20, 0.1, 600, 500, "standard", 4),
}
COLUMNS = ("lr_images", "lr_student", "evaluation_epochs", "batch_syn")
COMMON = {
    # E, R, K, α and d
    "student_epochs": 250,
    "rounds": 2500,
    "checkpoints": 5,
    "alpha": 0.1,
    "distance": "l1",
    # pixels and students
    "momentum": 0.5,
    "late_factor": 0.3,
    "student_momentum": 0.9,
    "student_decay": 5e-4,
    "student_batch": 256,
    # teachers
    "teachers": 100,
    "train_epochs": 100,
    "train_lr": 0.05,
    "train_batch": 256,
    "train_momentum": 0.9,
    "train_decay": 5e-4,
    "train_schedule": "half",
    # as the paper says, not as the released code does
    "log": True,
    "student_every": 1,
    "dense_momentum": False,
    "student_augmentation": "none",
    "labels": "ensemble",
}


def test_the_presets_are_the_published_table_and_digits():
    own = ("digits", "fashion-mnist")
    names = [name for name in preset_names("apm") if not name.startswith(own)]
    assert names == sorted(TABLE)


@pytest.mark.parametrize("name", sorted(set(preset_names("apm")) - set(TABLE)))
def test_a_preset_that_was_not_published_says_so(name):
    preset = find_preset("apm", *lookup("apm"), tag="", ipc=1, choice=name)
    assert preset["source"].startswith("ddkit's own")
    assert "Not published" in preset["notes"]


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_has_the_values_of_its_row(name):
    dataset, ipc = name.rsplit("-ipc", 1)
    data = {"name": dataset}
    if dataset.endswith("-64"):
        data = {"name": dataset.removesuffix("-64"), "resize": 64}
    config = resolve(Request("apm", {"ipc": int(ipc)}, data))
    assert config.preset == f"{name} (APM, appendix A.7)"
    found = (*(config.options[column] for column in COLUMNS), config.data.space)
    assert found == TABLE[name][:-1]
    assert {key: config.options[key] for key in COMMON} == COMMON
    assert (config.network, config.init) == ("convnet", "real")
    size = 32 if dataset.startswith("cifar") else 64
    network = networks.create(config.network, classes=10, shape=(3, size, size), meta=True)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [128] * TABLE[name][-1]


def test_without_a_preset_the_options_are_the_papers():
    config = resolve(Request("apm", preset="none"))
    assert {key: config.options[key] for key in COMMON} == COMMON
    assert {key: config.options[key] for key in COLUMNS} == {
        "lr_images": 1,
        "lr_student": 0.02,
        "evaluation_epochs": 1000,
        "batch_syn": 0,
    }

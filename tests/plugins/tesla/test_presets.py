"""A preset of each kind of TESLA and MTT runs two steps, and MTT's are the published table."""

import pytest
import torch

from ddkit.data.split import Split
from ddkit.distilled.dataset import load
from ddkit.methods.plugin import lookup
from ddkit.methods.presets import find_preset, preset_names
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.tensors import TensorFile

OWN = ("digits", "fashion-mnist")  # ddkit's own settings, for a CPU
METHODS = ("tesla", "mtt")
SHRINK = {
    "experts": 1,
    "train_epochs": 2,
    "train_batch": 8,
    "max_start_epoch": 1,
    "expert_epochs": 1,
    "student_steps": 2,
    "iterations": 2,
}


def made() -> Split:
    """Return 16 grey images of 32 px: ZCA of coloured ones takes a minute for all the presets."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 1, 32, 32), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.arange(16) % 2, ("a", "b"))


def test_a_preset_runs_two_steps(preset, tmp_path, monkeypatch):
    """What it sets is kept, but for sizes: two classes, 32 px, experts of two epochs."""
    monkeypatch.setattr("ddkit.data.sources.load.load", lambda *_, **__: made())
    method, name = preset
    options = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)["options"]
    sizes = {**SHRINK, "batch_syn": min(1, options.get("batch_syn", 0))}
    settings = [f"{key}={value}" for key, value in sizes.items()]
    flags = {"ipc": 1, "threads": 1, "network": "convnet:width=8"}
    config = resolve(Request(method, flags, {"name": "made", "resize": 32}, settings, name))
    assert {"lr_images", "labels"} <= options.keys()
    distilled = load(pipeline.distill(config, tmp_path / "run"))
    assert len(distilled) == 2
    assert distilled.space.kind == config.data.space
    assert distilled.labels.kind == ("hard" if options["labels"] == "hard" else "soft")
    assert distilled.learning_rate > 0
    file = TensorFile(tmp_path / "run" / "shards" / "shard-00000.safetensors")
    assert len(file["losses"]) == 2
    assert torch.isfinite(file["losses"]).all()
    assert (file["images"] != file["initial"]).flatten(1).any(1).all()


# student_steps, expert_epochs, max_start_epoch, lr_images, lr_lr, lr_student, batch_syn, space
MTT = {
    "cifar10-ipc1": (50, 2, 2, 100, 1e-7, 0.01, 0, "zca"),
    "cifar10-ipc10": (30, 2, 20, 100, 1e-5, 0.001, 0, "zca"),
    "cifar10-ipc50": (30, 2, 40, 1000, 1e-5, 0.001, 0, "standard"),
    "cifar100-ipc1": (20, 3, 20, 1000, 1e-5, 0.01, 0, "zca"),
    "cifar100-ipc10": (20, 2, 20, 1000, 1e-5, 0.01, 0, "standard"),
    "cifar100-ipc50": (80, 2, 40, 1000, 1e-5, 0.01, 125, "zca"),
    "tiny-imagenet-ipc1": (10, 2, 10, 1e4, 1e-4, 0.01, 0, "standard"),
    "tiny-imagenet-ipc10": (20, 2, 40, 1e4, 1e-4, 0.01, 200, "standard"),
    "tiny-imagenet-ipc50": (20, 2, 40, 1e4, 1e-4, 0.01, 300, "standard"),
}
COLUMNS = (
    "student_steps",
    "expert_epochs",
    "max_start_epoch",
    "lr_images",
    "lr_lr",
    "lr_student",
    "batch_syn",
)


def test_the_presets_of_mtt_are_its_published_table():
    names = [name for name in preset_names("mtt") if not name.startswith(OWN)]
    assert names == sorted(MTT)


@pytest.mark.parametrize("ipc", [1, 10])
def test_on_digits_mtt_has_the_settings_of_tesla_with_hard_labels(ipc):
    mtt, tesla = (resolve(Request(name, {"ipc": ipc})) for name in ("mtt", "tesla"))
    assert (mtt.options, mtt.network, mtt.init) == (tesla.options, tesla.network, tesla.init)


@pytest.mark.parametrize("name", MTT)
def test_a_preset_of_mtt_has_the_values_of_its_row(name):
    dataset, ipc = name.rsplit("-ipc", 1)
    config = resolve(Request("mtt", {"ipc": int(ipc)}, {"name": dataset}))
    assert config.preset == f"{name} (MTT, appendix and released code)"
    found = (*(config.options[column] for column in COLUMNS), config.data.space)
    assert found == MTT[name]
    assert (config.network, config.init) == ("convnet", "real")
    assert experts_of(config) == (100, 50, 0.01, 256, 0.0, 0.0, "constant", "dsa")
    assert (config.options["momentum"], config.options["augmentation"]) == (0.5, "dsa")


def experts_of(config) -> tuple:
    names = (
        "experts",
        "train_epochs",
        "train_lr",
        "train_batch",
        "train_momentum",
        "train_decay",
        "train_schedule",
        "train_augmentation",
    )
    return tuple(config.options[name] for name in names)


# TESLA where its released code tells: the other rows are MTT's
TESLA = {
    **MTT,
    "cifar10-ipc1": (50, 2, 5, 1000, 1e-7, 0.01, 0, "standard"),
    **{
        f"imagenet-1k-64-ipc{ipc}": (10, 3, 10, 1e4, 1e-4, 0.01, 100, "standard")
        for ipc in (1, 2, 10, 50)
    },
}


def test_the_presets_of_tesla_are_of_the_sets_of_its_paper_and_mtts_and_digits():
    names = [name for name in preset_names("tesla") if not name.startswith(OWN)]
    assert names == sorted(TESLA)


@pytest.mark.parametrize("name", TESLA)
def test_a_preset_of_tesla_has_the_known_values(name):
    dataset, ipc = name.rsplit("-ipc", 1)
    data = {"name": dataset}
    if dataset.endswith("-64"):
        data = {"name": dataset.removesuffix("-64"), "resize": 64}
    config = resolve(Request("tesla", {"ipc": int(ipc)}, data))
    assert config.preset.startswith(f"{name} (")
    found = (*(config.options[column] for column in COLUMNS), config.data.space)
    assert found == TESLA[name]
    assert (config.network, config.init) == ("convnet", "real")
    assert config.options["iterations"] == 10_000
    assert config.options["gradient"] == "exact"
    assert config.options["labels"] == ("hard" if dataset.startswith("cifar") else "target")
    experts = 50 if dataset.startswith("imagenet") else 100
    assert experts_of(config) == (experts, 50, 0.01, 256, 0.0, 0.0, "constant", "dsa")


def test_mtt_is_tesla_with_hard_labels():
    config = resolve(Request("mtt", preset="none"))
    assert (config.method, config.plugin) == ("mtt", "tesla")
    wanted = {"gradient": "exact", "labels": "hard", "iterations": 5000}
    assert {key: config.options[key] for key in wanted} == wanted
    other = resolve(Request("tesla", preset="none"))
    assert {**config.options, "labels": "target", "iterations": 10_000} == other.options

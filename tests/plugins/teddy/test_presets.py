"""A preset of each kind of Teddy and SRe²L runs two steps, on made data of the right kind."""

import pytest
import torch

from ddkit.data.split import Split
from ddkit.distilled.dataset import load
from ddkit.methods.plugin import lookup
from ddkit.methods.presets import find_preset
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.tensors import TensorFile

METHODS = ("teddy", "sre2l", "sre2lpp", "cvdd")
SHRINK = {
    "iterations": 2,
    "label_epochs": 2,
    "members": 2,
    "recalibrate": 8,
    "train_batch": 8,
    "finetune_batch": 8,
    "finetune_epochs": 0.5,
    "batch_size": 4,
}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Return a function that runs a preset, and checks what comes of it.

    What it sets is kept, but for sizes: two classes, 32 px, stages of two epochs.
    """
    generator = torch.Generator().manual_seed(0)
    split = Split(
        torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=generator),
        torch.arange(16) % 2,
        ("a", "b"),
    )
    monkeypatch.setattr("ddkit.data.sources.load.load", lambda *_, **__: split)

    def run(method: str, name: str, **flags) -> None:
        options = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)["options"]
        one_model = options.get("first") == options["last"]
        stages = {"first": 2 if one_model else 1, "last": 2, "every": 1, "train_epochs": 2}
        if method == "cvdd":
            stages["networks"] = "convnet:width=4:norm=batch,convnet:width=8:norm=batch"
        settings = [f"{key}={value}" for key, value in {**SHRINK, **stages}.items()]
        flags = {"ipc": 1, "threads": 1, **flags}
        config = resolve(Request(method, flags, {"name": "made", "resize": 32}, settings, name))
        distilled = load(pipeline.distill(config, tmp_path / "run"))
        assert len(distilled) == 2
        assert distilled.labels.kind == ("hard" if "table5" in name else "epoch")
        losses = TensorFile(tmp_path / "run" / "shards" / "shard-00000.safetensors")["losses"]
        assert len(losses) == 2
        assert torch.isfinite(losses).all()

    return run


def test_a_preset_runs_two_steps(preset, runs):
    runs(*preset, network="convnet:width=8:norm=batch")


def test_a_preset_runs_with_the_resnet_that_it_sets(runs):
    runs("teddy", "cifar10-ipc10")


def test_the_preset_of_data_and_ipc_is_found():
    config = resolve(Request("teddy", {"ipc": 50}, {"name": "tiny-imagenet"}, [], None))
    assert config.preset == "tiny-imagenet-ipc50 (Teddy, Tables 6 and 7, prior pool)"
    assert (config.options["first"], config.options["last"]) == (11, 46)
    assert config.options["iterations"] == 4000
    assert config.network == "resnet18"


def test_what_the_names_stand_for():
    options = {
        method: resolve(Request(method, {"ipc": 10}, {"name": "cifar100"}, [], None)).options
        for method in ("sre2l", "sre2lpp", "cvdd")
    }
    simple, plus, committee = options.values()
    plus_only = {key for key, value in plus.items() if simple.get(key) != value}
    assert plus_only == {"iterations", "choose", "jitter", "label_statistics"}
    assert (plus["iterations"], plus["label_statistics"]) == (4000, "batch")
    own = {key: value for key, value in committee.items() if plus.get(key) != value}
    assert len(own.pop("networks")) == 5
    assert own == {"pool": "committee", "teachers": 2, "draw": "index", "weights": "holdout"}


def test_published_rates_are_the_own_recipe():
    config = resolve(Request("cvdd", {"ipc": 10}, {"name": "cifar100"}, [], None))
    assert config.protocol == {
        "epochs": 300,
        "batch_size": 16,
        "lr": 1e-3,
        "schedule": "cosine:2",
    }
    assert config.data.holdout == 0.1


def test_a_part_of_the_classes_is_another_data_set():
    config = resolve(
        Request("teddy", {"ipc": 50}, {"name": "tiny-imagenet", "classes": "5"}, [], None)
    )
    assert config.preset is None

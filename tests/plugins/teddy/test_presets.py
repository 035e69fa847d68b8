"""Every preset of Teddy and SRe²L runs two steps, shrunken, on made data of the right kind."""

import pytest
import torch

from ddkit.data.split import Split
from ddkit.distilled.dataset import load
from ddkit.methods.plugin import lookup
from ddkit.methods.presets import find_preset, preset_names
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.tensors import TensorFile

ALL = [
    (method, name)
    for method in ("teddy", "sre2l")
    for name in preset_names(method)
    if "table5" not in name or name == "cifar10-ipc1-table5"  # they differ in the figure alone
]
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


@pytest.mark.parametrize(("method", "name"), ALL)
def test_preset_runs_two_steps(method, name, tmp_path, monkeypatch):
    """What a preset sets is kept, but for sizes: two classes, 32 px, stages of two epochs."""
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "cache"))
    generator = torch.Generator().manual_seed(0)
    split = Split(
        torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=generator),
        torch.arange(16) % 2,
        ("a", "b"),
    )
    monkeypatch.setattr("ddkit.data.sources.load.load", lambda *_, **__: split)
    preset = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)
    options = preset["options"]
    one_model = options.get("first") == options["last"]
    stages = {"first": 2 if one_model else 1, "last": 2, "every": 1, "train_epochs": 2}
    settings = [f"{key}={value}" for key, value in {**SHRINK, **stages}.items()]
    request = Request(
        method, {"ipc": 1, "threads": 1}, {"name": "made", "resize": 32}, settings, name
    )
    config = resolve(request)
    kept = {key: value for key, value in options.items() if key not in {**SHRINK, **stages}}
    assert {key: config.options[key] for key in kept} == kept
    assert config.network == preset["network"]
    run_folder = tmp_path / "run"
    distilled = load(pipeline.distill(config, run_folder))
    assert len(distilled) == 2
    assert distilled.labels.kind == ("hard" if "table5" in name else "epoch")
    losses = TensorFile(run_folder / "shards" / "shard-00000.safetensors")["losses"]
    assert len(losses) == 2
    assert torch.isfinite(losses).all()


def test_the_preset_of_data_and_ipc_is_found():
    config = resolve(Request("teddy", {"ipc": 50}, {"name": "tiny-imagenet"}, [], None))
    assert config.preset == "tiny-imagenet-ipc50 (Teddy, Tables 6 and 7, prior pool)"
    assert (config.options["first"], config.options["last"]) == (11, 46)
    assert config.options["iterations"] == 4000
    assert config.network == "resnet18"


def test_a_part_of_the_classes_is_another_data_set():
    config = resolve(
        Request("teddy", {"ipc": 50}, {"name": "tiny-imagenet", "classes": "5"}, [], None)
    )
    assert config.preset is None

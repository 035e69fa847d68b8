"""Published numbers by the images per class; names; presets."""

import pytest
import torch
from ddkit_matching.options import MatchingOptions

from ddkit import load
from ddkit.data.split import Split
from ddkit.methods.plugin import ALIASES, Plugin, lookup
from ddkit.methods.plugin import METHODS as PLUGINS
from ddkit.methods.presets import find_preset
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.tensors import TensorFile

METHODS = ("dc", "dsa", "dm")


@pytest.mark.parametrize(
    ("ipc", "outer", "inner"),
    [
        (1, 1, 1),
        (10, 10, 50),
        (20, 20, 25),
        (30, 30, 20),
        (40, 40, 15),
        (50, 50, 10),  # released
        (2, 1, 1),
        (9, 1, 1),
        (11, 10, 50),
        (100, 50, 10),  # the next smaller one
    ],
)
def test_the_loops_of_gradient_matching_follow_from_the_images_per_class(ipc, outer, inner):
    for method in ("dc", "dsa"):
        options = resolve(Request(method, {"ipc": ipc}, preset="none")).options
        assert (options["outer_loop"], options["inner_epochs"]) == (outer, inner)
        assert options["updates"] == 1000 * outer


@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_distributions_are_matched_in_20000_networks_that_are_not_trained(ipc):
    options = resolve(Request("dm", {"ipc": ipc}, preset="none")).options
    assert (options["updates"], options["outer_loop"]) == (20_000, 1)


def test_numbers_that_were_said_are_kept():
    said = MatchingOptions(updates=7, outer_loop=3, inner_epochs=2).for_ipc(50)
    assert (said.updates, said.outer_loop, said.inner_epochs) == (7, 3, 2)
    assert said.for_ipc(1) == said
    assert MatchingOptions(outer_loop=3).for_ipc(50).updates == 3000


@pytest.mark.parametrize(
    ("name", "match", "augmentation", "rate", "init"),
    [
        ("dc", "gradient", "none", 0.1, "noise"),
        ("dsa", "gradient", "dsa", 0.1, "real"),
        ("dm", "distribution", "dsa", 1.0, "real"),
    ],
)
def test_a_name_stands_for_the_settings_of_its_released_code(name, match, augmentation, rate, init):
    assert name in ALIASES.entries()
    assert name not in PLUGINS.entries()
    config = resolve(Request(name, preset="none"))
    assert (config.plugin, config.network, config.init) == ("matching", "convnet", init)
    found = {key: config.options[key] for key in ("match", "augmentation", "lr_images")}
    assert found == {"match": match, "augmentation": augmentation, "lr_images": rate}
    published = {"momentum": 0.5, "batch_real": 256, "lr_network": 0.01, "batch_network": 256}
    assert {key: config.options[key] for key in published} == published


def test_labels_and_evaluation_are_the_cores():
    hooks = ["method_config", "check", "build_pool", "synthesis_loss"]
    assert Plugin("matching").overridden() == hooks


@pytest.mark.parametrize("method", METHODS)
def test_the_first_methods_store_their_own_options_alone_and_have_no_pool(made_up, method):
    options = resolve(Request(method, preset="none")).options
    assert len(options) == 10  # as before others came: caches, folders and benches know them
    assert Plugin("matching").build_pool(made_up(**options)) == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_the_presets_of_cifar10_are_what_the_released_code_has(method, ipc):
    config = resolve(Request(method, {"ipc": ipc}, {"name": "cifar10"}))
    assert config.preset == f"cifar10-ipc{ipc} ({method.upper()}, released code)"
    assert config.options == resolve(Request(method, {"ipc": ipc}, preset="none")).options
    assert (config.network, config.data.space) == ("convnet", "standard")
    assert config.init == ("noise" if method == "dc" else "real")


def test_a_preset_runs_two_steps(preset, tmp_path, monkeypatch):
    """What it sets is kept, but for sizes: two classes, 16 px, two steps."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (32, 1, 16, 16), dtype=torch.uint8, generator=generator)
    made = Split(pixels, torch.arange(32) % 2, ("a", "b"))
    monkeypatch.setattr("ddkit.data.sources.load.load", lambda *_, **__: made)
    method, name = preset
    options = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)["options"]
    sizes = {"updates": 2, "inner_epochs": min(2, options.get("inner_epochs", 1))}
    settings = [f"{key}={value}" for key, value in sizes.items()]
    flags = {"ipc": 2, "threads": 1, "network": "convnet:width=8"}
    config = resolve(Request(method, flags, {"name": "made"}, settings, name))
    distilled = load(pipeline.distill(config, tmp_path / "run"))
    assert distilled.labels.kind == "hard"
    file = TensorFile(tmp_path / "run" / "shards" / "shard-00000.safetensors")
    assert file["losses"].shape == (2,)
    assert torch.isfinite(file["losses"]).all()
    assert (file["images"] != file["initial"]).flatten(1).any(1).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["digits-ipc1", "digits-ipc10"])
def test_a_preset_that_was_not_published_says_so(method, name):
    preset = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)
    assert preset["source"].startswith("ddkit's own")
    assert "Not published" in preset["notes"]

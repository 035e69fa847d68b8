"""The names that people type, and the presets behind them."""

import pytest

from ddkit import load
from ddkit.methods.plugin import ALIASES, Plugin, lookup
from ddkit.methods.plugin import METHODS as PLUGINS
from ddkit.methods.presets import find_preset, preset_names
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage

SMALL = ["digits-ipc1", "digits-ipc10", "fashion-mnist-14-ipc1", "fashion-mnist-14-ipc10"]
METHODS = ("herding", "k-center")


@pytest.mark.parametrize("name", METHODS)
def test_an_alias_is_named_as_its_rule(name):
    plugin, alias = lookup(name)
    assert name in ALIASES.entries()
    assert name not in PLUGINS.entries()
    assert plugin == "selection"
    assert alias.options == {"rule": name}
    config = resolve(Request(name, preset="none"))
    assert (config.method, config.plugin, config.options["rule"]) == (name, "selection", name)
    assert (config.network, config.init) == ("convnet", "real")


def test_the_plugin_itself_is_herding_on_features_of_one_network():
    options = resolve(Request("selection", preset="none")).options
    assert options == {
        "rule": "herding",
        "features": "network",
        "teachers": 1,
        "train_epochs": 30,
        "train_lr": 0.01,
        "train_batch": 256,
        "train_momentum": 0.9,
        "train_decay": 5e-4,
        "train_schedule": "half",
        "train_augmentation": "dsa",
    }


def test_evaluation_is_the_cores():
    assert Plugin("selection").overridden() == [
        "method_config",
        "check",
        "build_pool",
        "synthesis_loss",
        "relabel",
    ]


def test_both_rules_have_presets_for_small_sets():
    for method in METHODS:
        assert set(SMALL) <= set(preset_names(method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMALL)
def test_a_preset_that_was_not_published_says_so(method, name):
    preset = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)
    assert preset["source"].startswith("ddkit's own")
    assert "Not published" in preset["notes"]


@pytest.mark.parametrize("method", METHODS)
def test_a_preset_runs(method, tmp_path):
    flags = {"ipc": 2, "threads": 1, "network": "convnet:width=8"}
    config = resolve(Request(method, flags, {}, ["train_epochs=1"], "digits-ipc10"))
    assert config.options["rule"] == method
    distilled = load(pipeline.distill(config, tmp_path / "run"))
    assert len(distilled) == 20
    assert distilled.labels.kind == "hard"


def test_the_pool_has_as_many_teachers_as_the_options_ask_for(configured, tmp_path):
    for count in (1, 3):
        run = prepare(configured(f"teachers={count}"), tmp_path / "run")
        tasks = Plugin("selection").build_pool(Stage(run, "pool").run)
        assert [task.name for task in tasks] == [f"teacher-{index:04d}" for index in range(count)]

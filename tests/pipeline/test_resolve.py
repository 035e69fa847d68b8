"""From what was asked for to a whole configuration."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from PIL import Image

from ddkit.config import StageConfig
from ddkit.methods.plugin import ALIASES, METHODS, Alias
from ddkit.methods.presets import preset_names
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve, with_relabel
from ddkit.runtime.errors import DdkitError

PLUGIN = """
from ddkit import ImageObjective, MethodOptions, hookimpl, option

class Options(MethodOptions):
    default_network = "convnet:norm=batch"
    steps: int = option(10, "steps", ge=0)
    rate: float = option(0.5, "learning rate")
    base: str | None = option(None, "a file")
    limit: int | None = option(5, "a limit, or none")

class Nothing(ImageObjective):
    def loss(self, shard, leaves, step):
        raise RuntimeError

@hookimpl
def method_config():
    return Options

@hookimpl
def synthesis_loss(run, pool):
    return Nothing(run)
"""
PRESET = """
source = "table 3"
network = "resnet18"
[options]
steps = 99
rate = 0.25
[data]
space = "zca"
"""
DEFAULTS = {"steps": 10, "rate": 0.5, "base": None, "limit": 5}


@pytest.fixture
def presets(tmp_path, monkeypatch) -> Iterator[Path]:
    """Install the method "packaged" with a preset for cifar10, and return its presets folder."""
    folder = tmp_path / "ddkit_packaged"
    (folder / "presets" / "nickname").mkdir(parents=True)
    (folder / "__init__.py").write_text(PLUGIN)
    (folder / "presets" / "cifar10-ipc10.toml").write_text(PRESET)
    (folder / "presets" / "nickname" / "cifar10-ipc10.toml").write_text("options = { rate = 2.0 }")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(
        METHODS.builtins, "packaged", EntryPoint("packaged", "ddkit_packaged", "ddkit")
    )
    alias = EntryPoint("nickname", f"{__name__}:NICKNAME", "ddkit.aliases")
    monkeypatch.setitem(ALIASES.builtins, "nickname", alias)
    yield folder / "presets"
    sys.modules.pop("ddkit_packaged", None)


NICKNAME = Alias(method="packaged", options={"steps": 7, "rate": 1.0}, init="noise")
CIFAR = {"name": "cifar10"}


def ask(method="packaged", **fields):
    return resolve(Request(method, **fields))


def refusal(method="packaged", **fields) -> str:
    with pytest.raises(DdkitError) as caught:
        ask(method, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_preset_and_settings_the_defaults_hold(presets):
    config = ask(common={"ipc": 10})
    assert (config.method, config.plugin, config.ipc) == ("packaged", "packaged", 10)
    assert config.options == DEFAULTS
    assert config.network == "convnet:norm=batch"
    assert config.preset is None
    assert (config.pool_from, config.relabel_from, config.evaluate_from) == (None, None, None)


def test_a_preset_is_found_by_data_and_ipc(presets):
    config = ask(common={"ipc": 10}, data=CIFAR)
    assert config.options == {**DEFAULTS, "steps": 99, "rate": 0.25}
    assert config.network == "resnet18"
    assert config.data.space == "zca"
    assert config.preset == "cifar10-ipc10 (table 3)"


@pytest.mark.parametrize(
    ("ipc", "data"), [(1, CIFAR), (10, {"name": "digits"}), (10, {**CIFAR, "classes": "5"})]
)
def test_a_preset_for_other_data_or_another_ipc_is_not_used(presets, ipc, data):
    config = ask(common={"ipc": ipc}, data=data)
    assert config.preset is None
    assert config.options == DEFAULTS


def test_what_the_user_says_wins_over_the_preset(presets):
    config = ask(
        common={"ipc": 10, "network": "vgg11", "init": None},
        data={**CIFAR, "space": "unit"},
        settings=["steps=3"],
    )
    assert config.options == {**DEFAULTS, "steps": 3, "rate": 0.25}
    assert config.network == "vgg11"
    assert config.data.space == "unit"


def test_none_switches_the_preset_off(presets):
    config = ask(common={"ipc": 10}, data=CIFAR, preset="none")
    assert config.options == DEFAULTS
    assert (config.network, config.preset) == ("convnet:norm=batch", None)


def test_a_named_preset_is_used_for_any_data(presets):
    assert ask(common={"ipc": 1}, preset="cifar10-ipc10").options["steps"] == 99


def test_an_unknown_preset_is_refused_with_the_nearest_one(presets):
    assert refusal(preset="cifar10-ipc1") == (
        "unknown preset 'cifar10-ipc1': did you mean 'cifar10-ipc10'? "
        "(see `ddkit methods packaged`)"
    )


def test_a_preset_may_be_the_users_own_file(presets, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[options]\nsteps = 5\n")
    config = ask(preset=str(path))
    assert config.options["steps"] == 5
    assert config.preset.startswith(str(path))


@pytest.mark.parametrize("text", ["[option]\nsteps = 5", "netwrok = 'vgg11'", "options = 3"])
def test_a_preset_with_an_unknown_or_wrong_key_is_refused(presets, tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert str(path) in refusal(preset=str(path))


def test_a_preset_with_an_unknown_option_is_refused(presets, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[options]\nstepps = 5\n")
    assert "unknown option 'stepps': did you mean 'steps'?" in refusal(preset=str(path))


def test_the_presets_of_a_method_and_of_its_alias_are_apart(presets):
    (presets / "digits-ipc1.toml").write_text("")
    assert preset_names("packaged") == ["cifar10-ipc10", "digits-ipc1"]
    assert preset_names("nickname") == ["cifar10-ipc10"]


def test_an_alias_changes_defaults_and_settings_win_over_it(presets):
    config = ask("nickname", settings=["rate=4"])
    assert (config.method, config.plugin, config.init) == ("nickname", "packaged", "noise")
    assert config.options == {**DEFAULTS, "steps": 7, "rate": 4.0}
    assert ask("nickname", common={"init": "real"}).init == "real"


def test_the_preset_of_an_alias_wins_over_the_alias(presets):
    config = ask("nickname", common={"ipc": 10}, data=CIFAR)
    assert config.options == {**DEFAULTS, "steps": 7, "rate": 2.0}


def test_a_setting_for_a_stage_is_for_that_stage_only(presets):
    config = ask(settings=["steps=3", "relabel.rate=9", "pool.steps=4"])
    assert config.options == {**DEFAULTS, "steps": 3}
    assert config.stage("relabel").options == {**DEFAULTS, "steps": 3, "rate": 9.0}
    assert config.stage("pool").options == {**DEFAULTS, "steps": 4}
    assert config.evaluate_from is None


def test_the_synthesis_is_a_stage_too(presets):
    assert ask(settings=["synthesis.steps=3"]).options["steps"] == 3


def test_a_stage_of_another_method_has_that_methods_options(presets):
    config = ask("random", sources={"relabel": "packaged"}, settings=["relabel.steps=3"])
    assert config.relabel_from == StageConfig(plugin="packaged", options={**DEFAULTS, "steps": 3})
    assert config.options == {}


def test_an_unknown_setting_is_refused_with_the_nearest_one(presets):
    assert refusal(settings=["stpes=3"]) == (
        "unknown option 'stpes': did you mean 'steps'? (the method 'packaged')"
    )
    assert "unknown option 'stpes'" in refusal(settings=["relabel.stpes=3"])


def test_a_setting_of_the_wrong_type_is_refused(presets):
    assert refusal(settings=["steps=many"]) == (
        "option 'steps' of the method 'packaged': Input should be a valid integer, "
        "unable to parse string as an integer (got 'many')"
    )


@pytest.mark.parametrize("ipc", [0, -3])
def test_less_than_one_image_per_class_is_refused(presets, ipc):
    assert refusal(common={"ipc": ipc}) == (
        f"ipc must be 1 or more (got {ipc}): it counts the images per class"
    )


def test_the_pools_seed_is_the_runs_unless_it_is_given(presets):
    assert ask(common={"seed": 3}).pool_seed == 3
    assert ask(common={"seed": 3, "pool_seed": 0}).pool_seed == 0


def test_a_finished_set_is_relabelled_with_other_options(presets):
    config = ask(settings=["steps=3"])
    assert with_relabel(config, None, ["rate=7"]).stage("relabel").options == {
        **DEFAULTS,
        "steps": 3,
        "rate": 7.0,
    }
    other = with_relabel(config, "random", []).stage("relabel")
    assert other == StageConfig(plugin="random", options={})


def test_a_resolved_run_is_taken_up_again_in_its_folder(presets, data, tmp_path):
    config = ask(common={"device": "cpu"}, settings=["steps=0"])
    folder = tmp_path / "out"
    first = pipeline.distill(config, folder)
    assert pipeline.distill(config, folder) == first


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes the folder CIFAR10, of so many classes and pixels; its name."""

    def make(classes: int, side: int) -> str:
        for label in range(classes):
            path = tmp_path / f"CIFAR10/train/{label}/a.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (side, side)).save(path)
        return str(tmp_path / "CIFAR10")

    return make


@pytest.mark.parametrize(
    ("classes", "side", "differing"),
    [
        (10, 32, None),
        (3, 32, "3 classes, not 10"),
        (10, 48, "images of 48x48 pixels, not 32x32"),
        (2, 8, "2 classes, not 10 and images of 8x8 pixels, not 32x32"),
    ],
)
def test_a_folder_gets_the_preset_of_its_name_for_what_that_is_for(
    presets, folder, classes, side, differing
):
    name, said = folder(classes, side), []
    request = Request("packaged", common={"ipc": 10}, data={"name": name})
    config = resolve(request, said.append)
    assert (config.preset is None) is (differing is not None)
    assert config.options["steps"] == (99 if differing is None else 10)
    assert said == [
        f"preset cifar10-ipc10 (table 3) is not applied, because {name} has {differing}: "
        "--preset applies it by name"
    ] * (differing is not None)


def test_it_is_taken_where_it_is_named_and_where_size_is_its_own(presets, folder):
    name = folder(10, 48)
    common, data = {"ipc": 10}, {"name": name}
    assert ask(common=common, data=data, preset="cifar10-ipc10").options["steps"] == 99
    sized = PRESET.replace("[data]", "[data]\nresize = 32")
    (presets / "cifar10-ipc10.toml").write_text(sized)
    assert ask(common=common, data=data).data.resize == 32


def test_other_stages_leave_it_out_too(presets, folder):
    said = []
    request = Request("apm", {"ipc": 10}, {"name": folder(2, 8)}, sources={"relabel": "packaged"})
    assert resolve(request, said.append).relabel_from.options == DEFAULTS
    assert len(said) == 1


@pytest.mark.parametrize(
    ("method", "option"), [("teddy", "iterations"), ("mtt", "iterations"), ("dm", "updates")]
)
def test_steps_are_the_option_that_counts_them(method, option):
    assert resolve(Request(method, steps=7)).options[option] == 7


def test_steps_are_given_once_and_only_where_there_are_any():
    with pytest.raises(DdkitError, match=r"--steps 7 is --set iterations=7"):
        resolve(Request("teddy", settings=["iterations=8"], steps=7))
    with pytest.raises(DdkitError, match="the method 'random' has no steps"):
        resolve(Request("random", steps=7))

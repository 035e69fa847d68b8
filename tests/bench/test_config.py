"""What a bench is: a TOML file, flags over it, and one line for whatever is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddkit import DdkitError
from ddkit.bench.config import BenchConfig, read_config
from ddkit.data.options import DataOptions


@pytest.fixture
def written(tmp_path) -> Callable[[str], Path]:
    """Return a function that writes a TOML file."""

    def write(text: str) -> Path:
        path = tmp_path / "bench.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def flagged() -> Callable[..., BenchConfig]:
    """Return a function from flags of the command to its configuration."""
    from ddkit_cli.commands.bench import bench, bench_config

    def parse(*flags: str) -> BenchConfig:
        found = dict(bench.make_context("bench", list(flags)).params)
        for name in ("out", "dry_run", "as_json", "quiet", "workers"):
            found.pop(name, None)
        return bench_config(found)

    return parse


def test_nothing_said_is_every_method_on_digits():
    config = read_config(None, {})
    assert config.methods == ("random", "teddy", "tesla", "apm")
    assert config.data == (DataOptions(name="digits"),)
    assert (config.ipc, config.seeds, config.selection) == ((1,), 1, "herding")
    assert config.protocols == ("dsa", "plain", "own")
    assert config.recipe == ""


def test_a_file_says_what_is_compared(written):
    path = written(
        'methods = ["random", "teddy"]\nipc = [1, 10]\nseeds = 3\nnetworks = ["convnet:width=8"]\n'
        'data = ["digits", {name = "digits", classes = ["0", "1"], space = "zca"}]\ntune = true\n'
    )
    config = read_config(path, {})
    assert config.methods == ("random", "teddy")
    assert (config.ipc, config.seeds, config.tune) == ((1, 10), 3, True)
    assert config.networks == ("convnet:width=8",)
    plain, two = config.data
    assert plain == DataOptions(name="digits")
    assert (two.classes, two.space) == (("0", "1"), "zca")


def test_flags_win_over_the_file_and_leave_the_rest(written, flagged):
    path = written('methods = ["teddy"]\nepochs = 20\nseeds = 2\nreal = false\ndata = ["digits"]\n')
    config = flagged("--config", str(path), "--epochs", "5", "-m", "random,apm", "--real")
    assert config.methods == ("random", "apm")
    assert (config.epochs, config.seeds, config.real) == (5, 2, True)


def test_flags_become_lists_and_data_options_hold_for_all_data(flagged):
    config = flagged(
        "-d",
        "digits,./other",
        "--classes",
        "0,1",
        "--ipc",
        "1,2",
        "--seeds",
        "2",
        "--networks",
        "convnet:width=8,convnet",
        "--selection",
        "none",
    )
    assert [data.name for data in config.data] == ["digits", "./other"]
    assert {data.classes for data in config.data} == {("0", "1")}
    assert (config.ipc, config.seeds, config.selection) == ((1, 2), 2, "none")
    assert config.networks == ("convnet:width=8", "convnet")


def test_data_options_alone_are_those_of_digits(flagged):
    (data,) = flagged("--resize", "16").data
    assert (data.name, data.resize) == ("digits", 16)


def test_settings_go_to_the_method_that_they_name(flagged):
    config = flagged("-m", "teddy,apm", "--set", "apm.rounds=2", "--set", "apm.pool.teachers=3")
    assert config.variant("apm").settings == ("rounds=2", "pool.teachers=3")
    assert config.variant("teddy").settings == ()


def test_a_method_may_be_there_several_times_under_names_of_its_own(written):
    config = read_config(
        written(
            'methods = ["apm", "quick"]\n'
            '[variants.quick]\nmethod = "apm"\nsettings = ["rounds=2"]\n'
            'network = "convnet:width=8"\n'
        ),
        {},
    )
    assert config.variant("quick").method == "apm"
    assert config.variant("quick").network == "convnet:width=8"
    assert config.variant("apm").settings == ()


def test_settings_add_to_those_of_a_name_in_the_file_and_win(written, flagged):
    path = written(
        'methods = ["quick"]\n[variants.quick]\nmethod = "apm"\n'
        'settings = ["rounds=2", "teachers=3"]\n'
    )
    variant = flagged("--config", str(path), "--set", "quick.rounds=5").variant("quick")
    assert variant.method == "apm"
    assert variant.settings == ("rounds=2", "teachers=3", "rounds=5")


def test_a_task_brings_defaults_which_what_is_said_overrides():
    ranking = read_config(None, {"task": "ranking"})
    assert ranking.protocols == ("dsa",)
    assert len(ranking.networks) > 10
    assert ranking.selection == "none"
    assert read_config(None, {"task": "ranking", "networks": ["convnet"]}).networks == ("convnet",)


def test_the_recipe_says_what_is_not_as_the_protocols_say():
    said = {"epochs": 5, "tune": True, "task": "imbalanced", "budget_minutes": 0.5}
    assert read_config(None, said).recipe == "5 epochs, tuned, imbalanced, 0.5 min of synthesis"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"methods": ["random", "tedy"]}, "unknown method 'tedy': did you mean 'teddy'"),
    ({"selection": "hering"}, "unknown method 'hering': did you mean 'herding'"),
    ({"networks": ["convnt"]}, "unknown network 'convnt': did you mean 'convnet'"),
    ({"network": "convnt"}, "unknown network 'convnt': did you mean 'convnet'"),
    ({"protocols": ["dsa", "plane"]}, "unknown protocol 'plane': did you mean 'plain'"),
    ({"method": "teddy"}, "unknown option 'method': did you mean 'methods'"),
    ({"variants": {"mine": {"method": "tedy"}}}, "unknown method 'tedy': did you mean 'teddy'"),
    ({"variants": {"mine": {"method": "teddy", "seting": 1}}}, "variants.mine.seting"),
    ({"variants": {"mine": {}}}, "variants.mine.method"),
    ({"variants": 3}, "variants"),
    ({"data": [{"name": "digits", "size": 3}]}, "data.0.size"),
    ({"data": "digits"}, "data"),
    ({"methods": ["random", "random"]}, "methods names something twice: random, random"),
    ({"data": ["digits", {"name": "digits"}]}, "data names something twice"),
    ({"ipc": [1, 1]}, "ipc names something twice"),
    ({"protocols": ["own", "own"]}, "protocols names something twice"),
    ({"networks": ["convnet", "convnet"]}, "networks names something twice"),
    ({"methods": []}, "methods"),
    ({"ipc": [0]}, "ipc.0"),
    ({"seeds": 0}, "seeds"),
    ({"evaluation_seeds": 0}, "evaluation_seeds"),
    ({"epochs": 0}, "epochs"),
    ({"budget_minutes": 0}, "budget_minutes"),
    ({"threads": 0}, "threads"),
    ({"task": "contnual"}, "task"),
    ({"task": ["ranking"]}, "task"),
]


@pytest.mark.parametrize(("said", "text"), WRONG, ids=[text for _, text in WRONG])
def test_what_is_wrong_is_one_line(said, text):
    with pytest.raises(DdkitError) as refused:
        read_config(None, said)
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_wrong_in_a_file_names_the_file(written, tmp_path):
    with pytest.raises(DdkitError, match=r"bench\.toml"):
        read_config(written("seeds = 0"), {})
    with pytest.raises(DdkitError, match=r"bench\.toml is not valid TOML"):
        read_config(written("seeds ="), {})
    with pytest.raises(DdkitError, match=r"cannot read .*nowhere\.toml"):
        read_config(tmp_path / "nowhere.toml", {})


@pytest.mark.parametrize("text", ["rounds=2", "apm.rounds", "=2", "apm"])
def test_a_setting_without_a_method_or_a_value_is_one_line(flagged, text):
    with pytest.raises(DdkitError, match=r"is not of the form METHOD\.key=value"):
        flagged("-m", "apm", "--set", text)


def test_a_setting_of_a_method_that_is_not_compared_is_one_line(flagged):
    with pytest.raises(DdkitError, match=r"'amp'.*did you mean 'apm'"):
        flagged("-m", "random,apm", "--set", "amp.rounds=2")


def test_settings_of_the_selection_are_of_use(flagged):
    config = flagged("-m", "random", "--set", "herding.features=pixels")
    assert config.variant("herding").settings == ("features=pixels",)


def test_data_options_without_a_name_do_not_replace_the_data_of_a_file(written, flagged):
    path = written('data = ["./photos"]\n')
    with pytest.raises(DdkitError, match="--resize needs --data"):
        flagged("--config", str(path), "--resize", "16")
    (data,) = flagged("--config", str(path), "--data", "digits", "--resize", "16").data
    assert (data.name, data.resize) == ("digits", 16)

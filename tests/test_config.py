"""Configuration is typed, refuses what it does not know, and is written out whole."""

import json
from typing import Literal

import pytest

from ddkit.config import RunConfig, StageConfig, load_config
from ddkit.methods.options import MethodOptions, option
from ddkit.runtime.described import describe
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.settings import parse_setting, validated


class Options(MethodOptions):
    steps: int = option(10, "how many steps", ge=1)
    rate: float = option(0.1, "the learning rate", stages=("synthesis",))
    base: str | None = option(None, "a file")
    kept: Literal["auto"] | int = option("auto", "how many are kept")


def refusal(function, *arguments) -> str:
    with pytest.raises(DdkitError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_option_is_refused_with_the_nearest_one():
    assert refusal(validated, Options, {"setps": 3}, "the method 'toy'") == (
        "unknown option 'setps': did you mean 'steps'? (the method 'toy')"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"steps": "many"},
            "option 'steps' of here: Input should be a valid integer, unable to parse string as an "
            "integer (got 'many')",
        ),
        (
            {"steps": 0},
            "option 'steps' of here: Input should be greater than or equal to 1 (got 0)",
        ),
        ({"base": 3}, "option 'base' of here: Input should be a valid string (got 3)"),
        (
            {"kept": "many"},
            "option 'kept' of here: Input should be 'auto' or a valid integer, unable to parse "
            "string as an integer (got 'many')",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(values, message):
    assert refusal(validated, Options, values, "here") == message


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("steps=3", ("steps", 3)),
        ("rate=1e-3", ("rate", 1e-3)),
        ("on=true", ("on", True)),
        ("name=cosine", ("name", "cosine")),
        ('name="a b"', ("name", "a b")),
        ("file=a=b.txt", ("file", "a=b.txt")),
        ("many=[1, 2]", ("many", [1, 2])),
        ("pool.steps = 3", ("pool.steps", 3)),
        ("empty=", ("empty", "")),
    ],
)
def test_a_setting_is_read_as_toml_where_it_is_toml(text, setting):
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["steps", "=3", ""])
def test_a_setting_without_key_or_value_is_refused(text):
    assert refusal(parse_setting, text) == f"'--set {text}' is not of the form key=value"


def config(**fields) -> RunConfig:
    return RunConfig.model_validate({"method": "toy", "plugin": "toy", "ipc": 1, **fields})


def test_a_configuration_comes_back_from_its_file(tmp_path):
    written = config(
        ipc=10,
        seed=3,
        pool_seed=4,
        network="convnet:depth=3",
        data={"name": "cifar10", "classes": ["cat", "dog"], "holdout": 0.1, "imbalance": [0.4, 1]},
        options={"rate": 1e-05, "texts": ["a", "ü"], "on": True, "steps": 3},
        relabel_from={"plugin": "other", "options": {"size": 2}},
        preset="cifar10-ipc10 (table 3)",
    )
    written.save(tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == written


def test_an_option_without_a_value_comes_back_from_its_file(tmp_path):
    written = config(options={"steps": 3, "base": None})
    written.save(tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == written


def test_a_configuration_is_json_too_for_the_artifact():
    written = config(options={"base": None}, data={"classes": "3"})
    values = json.loads(json.dumps(written.model_dump(mode="json")))
    assert validated(RunConfig, values, "here") == written


@pytest.mark.parametrize("ipc", [0, -1])
def test_less_than_one_image_per_class_is_refused(ipc):
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        config(ipc=ipc)


def test_a_configuration_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        config().ipc = 3


def test_a_file_with_an_unknown_key_is_refused(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('method = "toy"\nplugin = "toy"\nipc = 1\nsede = 3\n')
    assert refusal(load_config, path) == f"unknown option 'sede': did you mean 'seed'? ({path})"


def test_a_broken_and_a_missing_file_are_refused_by_name(tmp_path):
    path = tmp_path / "config.toml"
    assert refusal(load_config, path) == f"cannot read {path}: No such file or directory"
    path.write_text("method = ")
    assert refusal(load_config, path).startswith(f"{path} is not valid TOML: ")


def test_each_stage_is_run_by_the_method_unless_another_was_named():
    other = StageConfig(plugin="other", options={"size": 2})
    own = StageConfig(plugin="toy", options={"steps": 3})
    mixed = config(options={"steps": 3}, relabel_from=other)
    assert mixed.stage("relabel") == other
    assert [mixed.stage(name) for name in ("pool", "synthesis", "evaluate")] == [own] * 3
    assert mixed.pool_stage("synthesis") == own
    assert mixed.pool_stage("relabel") == other
    third = StageConfig(plugin="third")
    pooled = config(options={"steps": 3}, relabel_from=other, pool_from=third)
    assert [pooled.pool_stage(name) for name in ("synthesis", "relabel")] == [third] * 2


def test_options_are_described_with_type_default_and_meaning():
    assert describe(Options) == [
        ("steps", "int", "10", "how many steps"),
        ("rate", "float", "0.1", "the learning rate"),
        ("base", "str | None", "None", "a file"),
        ("kept", "auto | int", "'auto'", "how many are kept"),
    ]

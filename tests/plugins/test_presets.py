"""What a preset sets is what its run has: all presets of all methods."""

import pytest

from ddkit.methods.plugin import ALIASES, METHODS, lookup, options_of
from ddkit.methods.presets import find_preset, preset_names
from ddkit.pipeline.resolve import Request, resolve

ALL = [
    (method, name)
    for method in [*METHODS.entries(), *ALIASES.entries()]
    for name in preset_names(method)
]


@pytest.mark.parametrize(("method", "name"), ALL)
def test_a_run_has_what_its_preset_sets(method, name):
    preset = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)
    config = resolve(Request(method, {"ipc": 1}, {"name": "made"}, [], name))
    assert config.preset == f"{name} ({preset['source']})"
    options = preset.get("options", {})
    found = options_of(config.stage("synthesis"))  # some at their defaults are not stored
    listed = {key: list(v) if isinstance(v, list | tuple) else v for key, v in found}
    assert {key: listed[key] for key in options} == options
    data = {"space": "standard", **preset.get("data", {})}
    assert {key: getattr(config.data, key) for key in data} == data
    wanted = {key: preset[key] for key in ("network", "init", "factor") if key in preset}
    assert {key: getattr(config, key) for key in wanted} == wanted

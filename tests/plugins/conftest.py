"""For tests of all methods: pools that they share, and one preset of each kind."""

from pathlib import Path
from typing import Any

import pytest

from ddkit.methods.plugin import lookup
from ddkit.methods.presets import find_preset, preset_names


@pytest.fixture(scope="session")
def pool_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pools")


@pytest.fixture
def shared_pools(own_cache: Path, pool_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a pool once for all tests that only read it: they have a cache in common."""
    monkeypatch.setenv("DDKIT_CACHE", str(pool_cache))


def kind(method: str, name: str) -> dict[str, Any]:
    """Return what decides which code a preset's run takes: not rates, sizes and the network."""
    plugin, alias = lookup(method)
    preset = find_preset(method, plugin, alias, tag="", ipc=1, choice=name)
    options = {**(alias.options if alias else {}), **preset.get("options", {})}
    sizes = {key: value > 0 for key, value in options.items() if type(value) in (int, float)}
    return {**options, **sizes, "init": preset.get("init"), "data": preset.get("data")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `preset` the (method, name) of one preset of each kind of the module's `METHODS`."""
    if "preset" not in metafunc.fixturenames:
        return
    kinds: list[dict[str, Any]] = []
    chosen = []
    for method in metafunc.module.METHODS:
        for name in preset_names(method):
            found = kind(method, name)
            if found not in kinds:
                kinds.append(found)
                chosen.append((method, name))
    metafunc.parametrize("preset", chosen, ids="-".join)

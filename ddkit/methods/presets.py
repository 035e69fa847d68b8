"""Presets: settings that were published or tried, as TOML files beside a plugin."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import Any

from ddkit.methods.plugin import METHODS, Alias, lookup
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.settings import read_toml

PRESET_KEYS = (
    "source",
    "notes",
    "network",
    "init",
    "factor",
    "data",
    "options",
    "protocol",
    "published",
)


def find_preset(
    method: str, plugin: str, alias: Alias | None, tag: str, ipc: int, choice: str | None
) -> dict[str, Any]:
    """Return the preset that fits, as a dictionary with its "name"; empty where none does.

    `choice` is a preset's name, the path of one, "none", or None for the one that fits.
    """
    if choice == "none":
        return {}
    if choice and choice.endswith(".toml"):
        return _read_preset(Path(choice), choice)
    folder = presets(plugin) / method if alias else presets(plugin)
    known = preset_names(method)
    name = choice or f"{tag}-ipc{ipc}"
    if name not in known:
        if choice:
            raise unknown("preset", choice, known, hint=f"see `ddkit methods {method}`")
        return {}
    return _read_preset(Path(str(folder / f"{name}.toml")), name)


def applied_preset(method: str, applied: str | None) -> dict[str, Any]:
    """Return the preset that a run applied, by the name and source that it stored.

    Raises:
        DdkitError: the method has none of this name any more.
    """
    if applied is None:
        return {}
    return find_preset(method, *lookup(method), tag="", ipc=1, choice=applied.partition(" (")[0])


def _read_preset(path: Path, name: str) -> dict[str, Any]:
    preset = read_toml(path)
    for key in preset:
        if key not in PRESET_KEYS:
            raise unknown("key", key, PRESET_KEYS, hint=f"in the preset {path}")
        if key in ("data", "options", "protocol") and not isinstance(preset[key], dict):
            raise DdkitError(f"'{key}' in the preset {path} must be a table: [{key}]")
        if key == "published" and not isinstance(preset[key], list):
            raise DdkitError(f"'published' in the preset {path} must be tables: [[published]]")
    return {**preset, "name": f"{name} ({preset.get('source', 'no source given')})"}


def preset_names(method: str) -> list[str]:
    """Return the names of a method's presets."""
    plugin, alias = lookup(method)
    folder = presets(plugin) / method if alias else presets(plugin)
    if not folder.is_dir():
        return []
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def presets(plugin: str) -> Traversable:
    """Return the folder in which a plugin keeps its presets; it need not exist."""
    module: ModuleType = METHODS.load(plugin)
    if not hasattr(module, "__path__"):  # a single-file plugin has no folder of its own
        return files("ddkit") / "presets"
    return files(module) / "presets"

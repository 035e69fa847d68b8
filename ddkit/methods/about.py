"""What methods are, for who chooses one: facts beside each plugin, read without importing it.

A package that holds a method, or aliases, may hold an `about.toml` with a table for each name. All
of it may be left out; the description of the distribution then says what a method is.
"""

from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ddkit.methods.plugin import ALIASES, METHODS
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.settings import Strict, read_toml, validated

FILE = "about.toml"
UNREADABLE = "not known: "
COSTS = {"none": "no steps", "cheap": "under a minute", "moderate": "minutes", "heavy": "hours"}
MEASURED = "the synthesis alone, ten images per class of digits on two CPU cores"


class About(Strict):
    """What a method or an alias says of itself; "" where it says nothing."""

    summary: str = ""
    """What it is, in one line."""

    paper: str = ""
    """Its authors, year and venue or arXiv id."""

    labels: str = ""
    """What labels its sets have, unless another method relabels them."""

    steps: str = ""
    """Its `steps_option`, which is known otherwise when the method is imported."""

    cost: Literal["", "none", "cheap", "moderate", "heavy"] = ""
    """What its synthesis takes: see `COSTS` and `MEASURED`."""


def about(name: str) -> About:
    """Return what a method or alias says of itself; imports no plugin.

    A file that cannot be read is named in the summary: it must not take the list with it.
    """
    entry = {**METHODS.entries(), **ALIASES.entries()}[name]
    try:
        for folder in _folders(entry.module):
            if (folder / FILE).is_file():
                table = read_toml(folder / FILE).get(name, {})
                where = f"[{name}] in {folder / FILE}"
                if not isinstance(table, dict):
                    raise DdkitError(f"{where} must be a table")
                return validated(About, table, where)
    except DdkitError as error:
        return About(summary=f"{UNREADABLE}{error}")
    return About(summary=_description(entry))


def stands_for(name: str) -> str | None:
    """Return the method of an alias, where it lies in the package of one; imports no plugin."""
    package = _top(ALIASES.entries()[name])
    inside = [method for method, entry in METHODS.entries().items() if _top(entry) == package]
    return inside[0] if len(inside) == 1 else None


def _top(entry: EntryPoint) -> str:
    return entry.module.partition(".")[0]


def _folders(module: str) -> list[Path]:
    """Return the folders of a module's packages, the innermost first; none for a lone file."""
    top, *inner = module.split(".")
    try:
        spec = find_spec(top)  # of a top-level name, which imports nothing
    except (ImportError, ValueError):
        return []
    roots = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    return [root.joinpath(*inner[:depth]) for depth in range(len(inner), -1, -1) for root in roots]


def _description(entry: EntryPoint) -> str:
    """Return what the distribution of a third party says of itself."""
    if entry.dist is None or entry.dist.name == "ddkit":
        return ""
    said = entry.dist.metadata
    return str(said["Summary"]) if "Summary" in said else ""

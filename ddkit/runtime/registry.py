"""Names that stand for code, found without importing it.

Built-in names point at "module:attribute"; third parties add theirs through an entry-point group.
Only the name that is asked for is imported, so one broken distribution cannot break the others.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ddkit.runtime.errors import DdkitError, cause, unknown


class Registry:
    """The names of one kind of thing: the built-in ones and those of an entry-point group."""

    def __init__(
        self, kind: str, group: str, builtins: Mapping[str, str] | None = None, hint: str = ""
    ):
        self.kind = kind
        self.group = group
        self.hint = hint
        self.builtins = {
            name: EntryPoint(name, target, group) for name, target in (builtins or {}).items()
        }

    def entries(self) -> dict[str, EntryPoint]:
        """Return every known name with its entry point, importing nothing.

        Raises `DdkitError` where two distributions claim one name: which of them ran would depend
        on the order of installation.
        """
        entries = dict(self.builtins)
        for entry in installed(self.group):
            rival = entries.get(entry.name)
            if rival is not None and rival.value != entry.value:
                raise DdkitError(
                    f"two {self.kind}s are called '{entry.name}': {rival.value} ({origin(rival)}) "
                    f"and {entry.value} ({origin(entry)}); uninstall one of the two"
                )
            entries[entry.name] = entry
        return entries

    def names(self) -> list[str]:
        return sorted(self.entries())

    def load(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises `DdkitError` for an unknown name (with the nearest match) and for code that fails
        to import (with the distribution it comes from).
        """
        entries = self.entries()
        if name not in entries:
            raise unknown(self.kind, name, entries, self.hint)
        entry = entries[name]
        try:
            return entry.load()
        except DdkitError:
            raise
        except Exception as error:  # whatever a foreign module raises while it is imported
            raise DdkitError(
                f"the {self.kind} '{name}' of {origin(entry)} cannot be imported: "
                f"{cause(error)}; repair or uninstall that distribution"
            ) from error


def origin(entry: EntryPoint) -> str:
    """Return the distribution and version an entry point comes from."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "ddkit"


@cache
def installed(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of `group`, each once: reading all metadata takes milliseconds."""
    return tuple(dict.fromkeys(entry_points(group=group)))

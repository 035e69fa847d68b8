"""The text that names a network: `name`, `name:key=value`, `file.py:factory` or `timm:name`.

Options are separated by colons because the command line lists networks with commas.
"""

import hashlib
import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path

from ddkit.networks.names import NETWORKS
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.registry import origin

TIMM = "timm"


@dataclass(frozen=True)
class NetworkSpec:
    """A parsed spec.

    Attributes:
        name: the registered name, or the name of the factory in `path`.
        path: the user's file, or None for a registered name.
        options: the options as they were written; the factory's annotations give their types.
    """

    name: str
    path: Path | None = None
    options: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def title(self) -> str:
        """What messages call the network: its spec without the options."""
        if self.name == TIMM:
            return f"{TIMM}:{self.options['model']}"
        return f"{self.path}:{self.name}" if self.path else self.name


def parse(spec: str) -> NetworkSpec:
    """Return the parts of `spec`; no network code is imported and no file is opened.

    Raises `DdkitError` for an unknown name, a file without a factory, and an option that is not
    `key=value` or is given twice.
    """
    head, *rest = spec.split(":")
    if not head.endswith(".py"):
        known = NETWORKS.entries()
        if head not in known:
            raise unknown(NETWORKS.kind, head, known, NETWORKS.hint)
        if head == TIMM:
            if not rest or "=" in rest[0]:
                raise DdkitError(f"network '{spec}': name one of timm's, as in timm:resnet18d")
            rest = [f"model={rest[0]}", *rest[1:]]
        return NetworkSpec(head, None, _options(rest, spec))
    if not rest or not rest[0].isidentifier():
        raise DdkitError(f"network '{spec}': name the function that builds it, as '{head}:factory'")
    return NetworkSpec(rest[0], Path(head).expanduser(), _options(rest[1:], spec))


def spec_fingerprint(spec: str) -> str:
    """Return what a cache key needs: the spec, and what tells its code from another of that name.

    For a user's file that is the sha256 of its content, but not of what it imports in turn; for a
    third party's name its distribution and version, for timm's its version. Raises `DdkitError` as
    `parse` does, and for a file that cannot be read.
    """
    named = parse(spec)
    if named.path is not None:
        return f"{spec}@sha256:{hashlib.sha256(read(named.path)).hexdigest()}"
    if named.name == TIMM:
        return f"{spec}@{TIMM} {_version(TIMM)}"
    if named.name in NETWORKS.builtins:
        return spec
    return f"{spec}@{origin(NETWORKS.entries()[named.name])}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"  # which is said where the network is made


def read(path: Path) -> bytes:
    """Return the content of a user's network file, or raise `DdkitError`."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DdkitError(f"there is no network file '{path}' (looked in {Path.cwd()})") from error
    except OSError as error:
        raise DdkitError(f"the network file '{path}' cannot be read: {error.strerror}") from error


def _options(parts: list[str], spec: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise DdkitError(f"network '{spec}': '{part}' is not an option; write key=value")
        if key in options:
            raise DdkitError(f"network '{spec}': option '{key}' is given twice")
        options[key] = value
    return options

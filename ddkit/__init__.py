"""ddkit: dataset distillation. Its names (`ddkit.api`) are loaded when one is first used."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ddkit.api import *  # noqa: F403
    from ddkit.api import __all__ as __all__
else:  # without it type checkers would take any name for one of ddkit's

    def __getattr__(name: str) -> Any:
        hidden = name.startswith("_") and name != "__all__"
        if not hidden and find_spec(f"ddkit.{name}") is None:  # rooms are found by Python itself
            api = import_module("ddkit.api")
            if name in ("__all__", *api.__all__):
                return getattr(api, name)
        raise AttributeError(f"module 'ddkit' has no attribute '{name}'")

"""Modules of benchmarks/ come from the repository; ddkit stays the one that is installed."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Callable[[str], ModuleType]]:
    """Return a function that imports a module of benchmarks/ by its name in there."""
    before, root = set(sys.modules), str(Path(__file__).parents[2])
    sys.path.append(root)
    yield lambda name: import_module(f"benchmarks.{name}")
    sys.path.remove(root)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "benchmarks":
            del sys.modules[name]

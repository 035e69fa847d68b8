"""Benchmarks are run by hand, months apart: what they import from ddkit must still be there."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if not path.name.startswith("__")
)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_finds_what_it_imports(benchmark, name):
    benchmark(name)

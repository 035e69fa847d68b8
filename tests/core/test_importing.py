"""The house rules of who imports whom, and of what starts without torch."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "ddkit").rglob("*.py"))
PLUGINS = sorted(path for path in (ROOT / "plugins").glob("*/ddkit_*") if path.is_dir())


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level package of every import in a source file, wherever in it it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def project() -> dict[str, Any]:
    """Return what pyproject.toml says of the distribution."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_core_imports_no_plugin_and_not_the_command_line():
    assert len(CORE) > 20
    foreign = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in CORE
        for name in imported(path)
        if name.startswith("ddkit_")
    }
    assert not foreign


def test_pytest_is_imported_by_what_tests_methods_only():
    users = {path.relative_to(ROOT / "ddkit") for path in CORE if "pytest" in imported(path)}
    assert users
    assert {path.parts[0] for path in users} == {"testing"}
    assert not [need for need in project()["dependencies"] if need.startswith("pytest")]


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_imports_no_other_plugin_and_not_the_command_line(folder):
    for path in folder.rglob("*.py"):
        foreign = {name for name in imported(path) if name.startswith("ddkit_")} - {folder.name}
        assert not foreign, path


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_the_init_of_a_plugin_defines_hooks_only(folder):
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        names = [ast.unparse(decorator) for decorator in function.decorator_list]
        assert names, f"{folder.name}.{function.name} is no hook"
        assert names[0].startswith("hookimpl")


@pytest.mark.parametrize(
    "code",
    [
        "import ddkit",
        "import ddkit_cli.main",
        "from ddkit.data.sources.names import DATA; DATA.names()",
        "import ddkit.networks; ddkit.networks.NETWORKS.names()",
        "from ddkit.methods.plugin import METHODS, ALIASES; METHODS.names(); ALIASES.names()",
    ],
)
def test_importing_and_listing_names_import_no_torch(code):
    assert loads_torch(code) is False


@pytest.mark.parametrize("arguments", ["--help", "methods", "methods --networks", "data --help"])
def test_the_command_line_answers_without_torch(arguments):
    code = (
        f"import sys; sys.argv = ['ddkit', *{arguments.split()!r}]\n"
        "from ddkit_cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert loads_torch(code) is False


def loads_torch(code: str) -> bool:
    """Return whether `code`, in a fresh interpreter, imports torch."""
    program = f"{code}\nimport sys\nprint('TORCH' if 'torch' in sys.modules else 'NONE')"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1] == "TORCH"

"""A Python of one's own, into which a test may install what it wrote, without a network."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "ddkit": "from ddkit_cli.main import main; main()",
    "pip": "from runpy import run_module; run_module('pip', run_name='__main__')",
}


@pytest.fixture(scope="module")
def own_environment(tmp_path_factory) -> dict[str, str]:
    """Return the environment of a shell whose Python sees all of ours, and keeps what is installed.

    A virtual environment made by one of ours would see the system's packages instead of ours.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = sysconfig.get_path("purelib", vars={"base": str(folder)})
    ours = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(site) / "ours.pth").write_text(ours, encoding="utf-8")
    for name, code in COMMANDS.items():
        script = folder / "bin" / name
        script.write_text(f"#!{folder}/bin/python\n{code}\n", encoding="utf-8")
        script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DDKIT_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # as pip reads it: without isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.fixture
def shell(own_environment) -> Callable[[str, Path], str]:
    """Return a function that runs commands in a folder, all of which must succeed."""

    def run(commands: str, folder: Path) -> str:
        result = subprocess.run(
            ["bash", "-ec", commands],
            cwd=folder,
            env=own_environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert result.returncode == 0, f"{commands}\n{result.stdout}"
        return result.stdout

    return run


@pytest.fixture(scope="module")
def website() -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of website/, which is no part of what is installed."""
    folder = ROOT / "website"
    places = [str(folder)]
    spec = util.spec_from_file_location(
        "website", folder / "__init__.py", submodule_search_locations=places
    )
    assert spec is not None
    sys.modules["website"] = util.module_from_spec(spec)
    yield lambda name: import_module(f"website.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "website"]:
        del sys.modules[name]

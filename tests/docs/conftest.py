"""A Python of one's own, into which a test may install what it wrote, without a network."""

import os
import shlex
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

import pytest
from ddkit_cli.main import main as ddkit

from ddkit.runtime import registry

ROOT = Path(__file__).parents[2]
QUIET = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:timeout")  # within another pytest
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
    packages = sysconfig.get_path("purelib", vars={"base": str(folder)})
    ours = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(packages) / "ours.pth").write_text(ours, encoding="utf-8")
    for name, code in COMMANDS.items():
        script = folder / "bin" / name
        script.write_text(f"#!{folder}/bin/python\n{code}\n", encoding="utf-8")
        script.chmod(0o755)
    return {
        **os.environ,
        "SITE": packages,
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


@pytest.fixture
def inside(copied) -> Callable[..., str]:
    """Return a function that calls another in a copy of this process, which must succeed.

    It takes the folder to be in, and one that distributions are installed in, if there is such;
    it returns what was printed.
    """

    def run(function: Callable[[], object], folder: Path, installed: Path | None = None) -> str:
        def prepared() -> object:
            if installed is not None:
                site.addsitedir(str(installed))
                registry.installed.cache_clear()
            sys.path.insert(0, str(folder))
            return function()

        process = copied(prepared, folder)
        process.join()
        said = process.output.read_text("utf-8"), process.errors.read_text("utf-8")
        for path in (process.output, process.errors):
            path.unlink()
        assert process.exitcode == 0, "".join(said)
        return said[0]

    return run


@pytest.fixture
def typed(inside, own_environment) -> Callable[[str, Path], str]:
    """Return a function that does what a shell does with `ddkit` and with `python -m pytest`."""

    def run(line: str, folder: Path) -> str:
        words = shlex.split(line)

        def command() -> object:
            sys.argv = words
            return ddkit() if words[0] == "ddkit" else pytest.main([*words[3:], *QUIET])

        return inside(command, folder, Path(own_environment["SITE"]))

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

"""`ddkit new-plugin`: a distribution that is a whole method, to go on from."""

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ddkit.runtime.errors import DdkitError

NAME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"
TEMPLATES = {
    "pyproject.toml.jinja": "pyproject.toml",
    "README.md.jinja": "README.md",
    "method.py.jinja": "{module}.py",
    "test_method.py.jinja": "test_{module}.py",
}


@click.command("new-plugin", short_help="write a package for a method of your own")
@click.argument("name")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="folder; default: ddkit-NAME")
def new_plugin(name: str, out: Path | None) -> None:
    """Write a package with the method NAME: options, a loss, a test of its contract.

    It installs, distils and passes its tests as it is. docs/tutorial.md continues from there.
    """
    from ddkit_cli import display

    module = module_of(name)
    folder = out or Path(f"ddkit-{name}")
    if folder.exists():
        raise DdkitError(f"{folder} exists: choose another name, or another folder (--out)")
    write(folder, dict(rendered(name, module)))
    display.say(f"wrote {folder}: its method is in {module}.py")
    display.say(f"next: cd {folder}; pip install -e . ; ddkit distill -m {name} ; python -m pytest")


def module_of(name: str) -> str:
    """Return the module of a new method; raises `DdkitError` where the name cannot be one."""
    from ddkit.methods.plugin import ALIASES, METHODS
    from ddkit.runtime.registry import origin

    if not re.fullmatch(NAME, name):
        raise DdkitError(
            f"'{name}' is not a name for a method: begin with a letter and use lower-case letters, "
            "digits and single dashes, such as my-method"
        )
    known = {**METHODS.entries(), **ALIASES.entries()}
    if name in known:
        raise DdkitError(
            f"{origin(known[name])} already has a method '{name}': choose another name"
        )
    module = f"ddkit_{name.replace('-', '_')}"
    if find_spec(module) is not None:
        raise DdkitError(
            f"a package {module} is already installed: choose a name other than '{name}'"
        )
    return module


def rendered(name: str, module: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file of a new distribution."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - files of code, not pages
    words = {
        "name": name,
        "module": module,
        "Class": "".join(part.capitalize() for part in name.split("-")),
    }
    for template, file in TEMPLATES.items():
        text = (files("ddkit_cli") / "templates" / "plugin" / template).read_text("utf-8")
        yield file.format(module=module), environment.from_string(text).render(words)


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write a folder of files, whole or not at all; raises `DdkitError` where that cannot be."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".ddkit-") as temporary:
            whole = Path(temporary) / "whole"
            whole.mkdir()
            for name, text in texts.items():
                (whole / name).write_text(text, encoding="utf-8")
            whole.rename(folder)
    except OSError as error:
        raise DdkitError(f"cannot write {folder}: {error.strerror}") from error

"""Code of others, run as it stands: modules of a checkout, and statements of its scripts.

Released code is mostly a script with everything in main(). Statements are found there by the names
that they assign, compiled from the file itself, and run with tensors of ours: nothing is copied.
"""

import ast
import importlib
import io
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ddkit.runtime.errors import DdkitError

# What the five import and nothing that is run here uses; a stand-in only where it is not installed.
SPARED = ("einops.layers.torch", "kornia", "scipy.ndimage.interpolation", "tqdm", "wandb")


@dataclass(frozen=True)
class Repository:
    """Released code, and the files by which a checkout of it is recognised."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Lines:
    """Statements of a script, ready to run.

    Attributes:
        where: file and line numbers.
        names: what the script has imported and defined.
    """

    where: str
    code: CodeType
    names: dict[str, Any]

    def run(self, **given: Any) -> dict[str, Any]:
        """Run them with what else they name, and return all names as they are afterwards."""
        namespace = {**self.names, **given}
        exec(self.code, namespace)  # noqa: S102 - whoever names a checkout wants it to be run
        return namespace


@dataclass(frozen=True)
class Checkout:
    """A folder that holds a repository.

    Raises `DdkitError` for one that does not.
    """

    repository: Repository
    folder: Path

    def __post_init__(self) -> None:
        for file in self.repository.files:
            if not (self.folder / file).is_file():
                raise DdkitError(
                    f"{self.folder} is no checkout of github.com/{self.repository.name}: it has no "
                    f"{file}"
                )

    @property
    def commit(self) -> str:
        """The commit that is checked out; "unknown" where git cannot say."""
        command = ["git", "-C", str(self.folder), "rev-parse", "HEAD"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError):
            return "unknown"
        return done.stdout.strip()

    def module(self, file: str) -> ModuleType:
        """Import a file; files beside it that it imports are imported anew, and none is kept."""
        path = self.folder / file
        beside = {other.stem for other in path.parent.glob("*.py")}
        before = {name: sys.modules.pop(name) for name in beside if name in sys.modules}
        sys.path.insert(0, str(path.parent))
        try:
            with stand_ins(), quiet():
                return importlib.import_module(path.stem)
        except ImportError as error:
            raise DdkitError(f"{path} cannot be imported: {error}; install what it needs") from None
        finally:
            sys.path.remove(str(path.parent))
            for name in beside:
                sys.modules.pop(name, None)
            sys.modules.update(before)

    def lines(self, file: str, within: Sequence[str], first: str, last: str) -> Lines:
        """Return statements of a block, from the first that assigns `first` to the last of `last`.

        Args:
            within: the block: a function, then loops inside it by their variables.
            first, last: names as they are assigned; a loop assigns its variable.

        Raises:
            DdkitError: there are none, so this is another version than was compared.
        """
        path = self.folder / file
        with quiet():
            body = ast.parse(path.read_text(encoding="utf-8")).body
        for name in within:
            found = [node for node in body if name in named(node)]
            body = found[0].body if found else []
        places = [
            [index for index, node in enumerate(body) if name in assigned(node)]
            for name in (first, last)
        ]
        if not (places[0] and places[1]) or places[0][0] > places[1][-1]:
            raise DdkitError(
                f"{path} does not assign {first} … {last} in {' > '.join(within)}: it is not the "
                f"{file} of github.com/{self.repository.name} that this compares with"
            )
        chosen = body[places[0][0] : places[1][-1] + 1]
        code = compile(ast.Module(chosen, []), str(path), "exec")
        where = f"{file}:{chosen[0].lineno}–{chosen[-1].end_lineno}"
        return Lines(where, code, vars(self.module(file)))


def named(node: ast.stmt) -> set[str]:
    """Return the name by which a block is found."""
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    return {ast.unparse(node.target)} if isinstance(node, ast.For) else set()


def assigned(node: ast.stmt) -> set[str]:
    """Return the names that a statement assigns, wherever inside it."""
    names = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign):
            names |= {ast.unparse(target) for target in inner.targets}
        elif isinstance(inner, ast.AugAssign | ast.For):
            names.add(ast.unparse(inner.target))
    return names


@contextmanager
def stand_ins() -> Iterator[None]:
    """Let what is not installed be imported; whatever is called of it raises."""
    added = []
    for name in SPARED:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        except ImportError:
            parts = name.split(".")
            for count in range(1, len(parts) + 1):
                package = ".".join(parts[:count])
                if package not in sys.modules:
                    sys.modules[package] = StandIn(package)
                    added.append(package)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


class StandIn(ModuleType):
    """A package that is not installed."""

    __path__: list[str] = []  # noqa: RUF012 - as packages have it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_: Any, **__: Any) -> Any:
            raise DdkitError(f"{self.__name__}.{name} is needed: install {self.__name__}")

        return absent


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what others print, and warn of, out of the output."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield

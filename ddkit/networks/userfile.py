"""A network from a user's own file: import it, find the factory, look at what it builds."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ddkit.networks.spec import read
from ddkit.runtime.errors import DdkitError, cause, unknown

if TYPE_CHECKING:
    from torch import nn


def load(path: Path, name: str) -> Callable[..., Any]:
    """Return the factory `name` of the file at `path`.

    The file is executed once for each content. What it imports must be installed or on PYTHONPATH:
    its own folder is not searched.

    Raises `DdkitError` for a file that is missing or fails to import, and for a missing factory.
    """
    module = _module(path)
    factory = getattr(module, name, None)
    if not callable(factory):
        own = [key for key, value in vars(module).items() if _is_factory(value, module)]
        raise unknown("factory", name, own, f"in {path}")
    return factory  # type: ignore[no-any-return]  # callable, as just checked


def probe(network: "nn.Module", classes: int, shape: tuple[int, int, int], path: Path) -> None:
    """Check on two black images that `network` gives logits of shape (2, classes).

    It looks in evaluation mode, so that batch-norm statistics stay as they are.
    """
    import torch

    with blame(path, f"builds a network that fails on images of shape {shape}"), torch.no_grad():
        logits = network.eval()(torch.zeros(2, *shape))
    if not isinstance(logits, torch.Tensor):
        found = f"a {type(logits).__name__}"
    elif logits.shape != (2, classes):
        found = f"a tensor of shape {tuple(logits.shape)}"
    else:
        return
    raise DdkitError(
        f"the network file '{path}' builds a network that turns 2 images of shape {shape} into "
        f"{found}; it must return logits of shape (2, {classes})"
    )


@contextmanager
def blame(path: Path, doing: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line that names the file and the line."""
    try:
        yield
    except DdkitError:
        raise
    except (Exception, SystemExit) as error:  # a script without a main guard may exit
        lines = [
            frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)
        ]
        where = f" (line {lines[-1]})" if lines else ""
        raise DdkitError(f"the network file '{path}' {doing}{where}: {cause(error)}") from error


def _module(path: Path) -> ModuleType:
    source = read(path)
    digest = hashlib.blake2b(bytes(path.resolve()) + source, digest_size=8).hexdigest()
    name = f"ddkit_network_{digest}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # dataclasses look their module up while it is executed
        try:
            with blame(path, "cannot be imported"):
                # not through an import loader, which would leave a __pycache__ beside the file
                exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _is_factory(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__

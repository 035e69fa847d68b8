"""Where units of work are done: one after the other in this process, or on Ray."""

from collections.abc import Iterator
from contextlib import contextmanager

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor

__all__ = ["LOCAL", "Executor", "executing"]


@contextmanager
def executing(name: str = "local", address: str | None = None) -> Iterator[Executor]:
    """Give the executor "local" or "ray"; what it started is ended with the block.

    Enter it before `stopping_on_signals`: Ray takes SIGTERM for itself when it starts.

    Args:
        address: of a Ray cluster, such as "head:6379" or "auto"; None for Ray on this machine.

    Raises:
        DdkitError: Ray is not installed, or no cluster answers.
    """
    if name == "local":
        if address is not None:
            raise DdkitError(f"--address {address} names a Ray cluster: add --executor ray")
        yield LOCAL
        return
    try:
        from ddkit.runtime.execution.ray import connected
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise DdkitError("--executor ray needs Ray: pip install 'ddkit[ray]'") from error
    with connected(address) as executor:
        yield executor

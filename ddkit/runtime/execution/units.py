"""Units of work: a group of a pool's tasks, a shard, a cell of a bench.

A unit is found again on any machine from the resolved configuration, the folders and a name or a
number. It writes files of its own, goes on from its checkpoint and holds no state: whoever does
it, and however often it is begun, it ends in the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ddkit.runtime.progress import Progress, Task


@dataclass(frozen=True)
class Job:
    """Units of one kind, and what each of them needs.

    Attributes:
        title: of the bar over all units.
        function: "module:name" of the function that does a unit in another process. It is called
            with a `Progress` and then, by name, with the arguments of the job and of the unit.
        arguments: JSON values that all units share.
        threads: the CPU threads of a unit; part of the configuration, since bytes depend on them.
        gpu: whether a unit needs a GPU of its own.
    """

    title: str
    function: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    gpu: bool = False


@dataclass(frozen=True)
class Unit:
    """One unit of work.

    Attributes:
        name: unique in its job.
        here: does it in this process, and advances the bar that it gets by `size`.
        arguments: JSON values that tell it from the other units of the job.
        size: its share of the bar, such as its steps.
        after: the names of units whose files it reads.
    """

    name: str
    here: Callable[[Task], None]
    arguments: Mapping[str, Any]
    size: int = 1
    after: tuple[str, ...] = ()


class Executor(Protocol):
    """Where units are done."""

    def run(self, job: Job, units: Sequence[Unit], progress: Progress, done: int = 0) -> None:
        """Do all units; each comes after those that it names, which are earlier in the list.

        Args:
            done: what was finished earlier, of the same size as `Unit.size`, for the bar.

        Raises:
            DdkitError: a unit failed in a known way.
            Stopped: on request, after what is needed to go on was written.
        """

"""What a plugin gives to be trained: tasks, and the members that they yield."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ddkit.networks.pruned import PruningHistory
from ddkit.pools.pool import Pool


@dataclass(frozen=True)
class Member:
    """One trained network, as a task yields it.

    Attributes:
        state: the network's `state_dict`.
        role: what it is for: "teacher", "expert", "pruned", "base" …
        step, epoch: how far it was trained.
        figures: measured on training data or holdout, such as {"holdout_accuracy": 0.91}.
        pruning: what torch-pruning did to the network, without which the weights don't fit it.
        extra: further tensors of the method's own, such as class-wise statistics.
        network: the spec of its network, a name and no file; None: the run's.
    """

    state: Mapping[str, Tensor]
    role: str
    step: int = 0
    epoch: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    pruning: PruningHistory | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    network: str | None = None


@dataclass(frozen=True)
class MemberTask:
    """One unit of a pool's training, rebuilt anywhere from the resolved configuration and its name.

    Attributes:
        name: unique in the pool; its file is called so.
        train: (context) → yields (number, member). A task that is resumed may yield a number again.
        needs: names of earlier tasks whose members it starts from; it sees no others.
        together: what it shares with the tasks beside it that may be trained in one go with it.
    """

    name: str
    train: "Callable[[TaskContext], Iterator[tuple[int, Member]]]"
    needs: tuple[str, ...] = ()
    together: "Stacked | None" = None


@dataclass(frozen=True, eq=False)
class Stacked:
    """How neighbouring tasks that share this object are trained in one go, as one batched network.

    Attributes:
        size: how many tasks at most are trained at once.
        train: (names of tasks, context) → yields (name, number, member); all that holds for
            `MemberTask.train` holds here. The members may differ from those by rounding only.
        worthwhile: measures whether that is faster than one task after the other. It is asked once
            for a pool, which then remembers the answer.
    """

    size: int
    train: "Callable[[Sequence[str], TaskContext], Iterator[tuple[str, int, Member]]]"
    worthwhile: Callable[[], bool]


@dataclass(frozen=True)
class TaskContext:
    """What tasks may use: where to keep their checkpoint, and the members that they need."""

    checkpoint: Path
    pool: "Pool"

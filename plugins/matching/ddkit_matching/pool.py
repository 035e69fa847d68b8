"""The pool: networks before and after their training on real data, as NCFM draws between them."""

from collections.abc import Sequence

import torch
from torch import nn

from ddkit import DdkitError, MemberTask, Pool, RealTraining, Run, parse_network
from ddkit_matching.options import MatchingOptions

ROLE = "pair"


def tasks(run: Run) -> Sequence[MemberTask]:
    """Return what trains the pool that the options ask for; nothing where they ask for none."""
    options: MatchingOptions = run.options
    if not options.has_pool:
        return []
    kept = (0, options.train_epochs) if options.networks == "pairs" else (options.train_epochs,)
    return RealTraining(
        run,
        ROLE,
        options.members,
        options.recipe,
        kept,
        options.train_augmentation,
        options.together,
    ).tasks()


def pairs(pool: Pool, run: Run) -> list[tuple[int, int]]:
    """Return the members before and after each training, whoever did it.

    Raises `DdkitError` where the pool has none, or of another network than the run's.
    """
    found = [
        (members[0], members[-1])
        for members in _by_task(pool, run)
        if pool.members[members[0]].epoch == 0 < pool.members[members[-1]].epoch
    ]
    if not found:
        raise DdkitError(
            "networks=pairs needs networks before and after their training, but the pool has none: "
            "name another one (--pool, --pool-from), or leave that out to train them"
        )
    return found


def trained(pool: Pool, run: Run, generator: torch.Generator) -> nn.Module:
    """Return a trained network of the pool, drawn evenly, as `Pool.network` does."""
    last = [members[-1] for members in _by_task(pool, run)]
    if not last:
        raise DdkitError(
            "networks=trained needs a pool of trained networks, but there is none: name one "
            "(--pool, --pool-from), or leave that out to train them"
        )
    return pool.network(last[int(torch.randint(len(last), (), generator=generator))])


def _by_task(pool: Pool, run: Run) -> list[list[int]]:
    """Return the members of each training by epoch, without those that were pruned."""
    own, theirs = run.config.network, pool.networks
    if any(parse_network(own) != parse_network(spec) for spec in theirs):
        way_out = f"use --network {theirs[0]}, or " if len(theirs) == 1 else ""
        raise DdkitError(
            f"the pool's networks are {', '.join(theirs)}, but images are matched in {own}: "
            f"{way_out}leave the pool out to train one"
        )
    found: dict[str, list[int]] = {}
    for index, member in enumerate(pool.members):
        if member.pruning is None:
            found.setdefault(member.task, []).append(index)
    return [sorted(each, key=lambda index: pool.members[index].epoch) for each in found.values()]

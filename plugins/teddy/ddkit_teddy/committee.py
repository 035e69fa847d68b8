"""The committee: networks of several architectures, trained here or given, one member each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ddkit import Member, MemberTask, Run, TaskContext
from ddkit_teddy.given import given_network
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.prior import Trajectory, member_of

ROLE = "teacher"


def tasks(run: Run) -> list[MemberTask]:
    """Return the tasks of the networks that are trained here, then of those that are given."""
    options: TeddyOptions = run.options
    own: Sequence[str | None] = options.trained or (() if options.bases else (None,))
    single = options.model_copy(update={"first": options.last, "every": 1})
    last = replace(run, options=single)
    trained = [Trajectory(last, spec, number).task(ROLE) for number, spec in enumerate(own)]
    return [
        *trained,
        *(
            MemberTask(f"given-{number:03d}", partial(given, run, number))
            for number in range(len(options.bases))
        ),
    ]


def given(run: Run, number: int, context: TaskContext) -> Iterator[tuple[int, Member]]:
    """Yield a member that was given; raises `DdkitError` where its weights do not fit."""
    spec, path = run.options.bases[number]
    network = given_network(run, spec, Path(path))
    yield 0, member_of(run, network, ROLE, 0, 0, spec=spec)

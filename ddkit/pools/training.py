"""Training a pool: which tasks are trained at once, and what is on disk when.

Each member is written as soon as it exists, each task's file when its members are complete, and
`pool.json` at the end. Killed anywhere, the pool is finished to the same bytes.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from ddkit.data.space import InputSpace
from ddkit.pools.pool import Pool
from ddkit.pools.tasks import Member, MemberTask, TaskContext
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor, Job, Unit
from ddkit.runtime.files import read_json, write_json, write_text
from ddkit.runtime.progress import Progress, Silent, Task
from ddkit.runtime.tensors import TensorFile, write_tensors

PLAN = "together.json"  # the tasks' names, in the groups that are trained at once
PARTIAL = "partial"  # the folder of what is not finished
Group = list[MemberTask]


def train_pool(
    tasks: Sequence[MemberTask],
    folder: Path,
    description: Mapping[str, Any],
    space: InputSpace,
    device: torch.device,
    job: Job = Job("pool"),  # noqa: B008 - it never changes
    executor: Executor = LOCAL,
    progress: Progress | None = None,
) -> None:
    """Run the tasks that are not finished yet, then write what completes the pool."""
    write_tensors(folder / "space.safetensors", space.to("cpu").tensors())
    groups = _plan(tasks, folder)
    _check_needs(groups)
    pending = [group for group in groups if not _finished(group, folder)]
    unit_of = {task.name: group[0].name for group in pending for task in group}

    def here(group: Group, bar: Task) -> None:
        train_group(group, folder, description, device)
        bar.advance()

    units = [
        Unit(
            name=group[0].name,
            here=partial(here, group),
            arguments={"tasks": [task.name for task in group]},
            after=tuple(unit_of[name] for name in _needs(group) if name in unit_of),
        )
        for group in pending
    ]
    executor.run(job, units, progress or Silent(), len(groups) - len(units))
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)  # what a kill left of finished tasks
    write_json(folder / "pool.json", {**description, "tasks": [task.name for task in tasks]})


def _plan(tasks: Sequence[MemberTask], folder: Path) -> list[Group]:
    """Return the tasks in groups that are trained at once; a task trained alone is a group too.

    Batched training rounds otherwise than single training, and a checkpoint fits its group only:
    so a pool that was killed keeps to the plan it began with, whatever a clock would say today.
    """
    if not any(task.together for task in tasks):
        return [[task] for task in tasks]
    named = {task.name: task for task in tasks}
    path = folder / PLAN
    plan = read_json(path) if path.exists() else []
    if [name for names in plan for name in names] != list(named):
        plan = [[task.name for task in group] for group in _worthwhile(_groups(tasks))]
        write_json(path, plan)
    return [[named[name] for name in names] for names in plan]


def _groups(tasks: Sequence[MemberTask]) -> list[Group]:
    """Cut the tasks, in their order, into the largest groups that may be trained at once."""
    groups: list[Group] = []
    for task in tasks:
        if groups and _may_join(task, groups[-1]):
            groups[-1].append(task)
        else:
            groups.append([task])
    return groups


def _may_join(task: MemberTask, group: Group) -> bool:
    together = group[0].together
    return (
        together is not None
        and task.together is together
        and len(group) < together.size
        and not any(other.name in task.needs for other in group)
    )


def _worthwhile(groups: Sequence[Group]) -> list[Group]:
    """Take apart the groups that are trained faster one task after the other."""
    worthwhile = cache(lambda together: together.worthwhile())  # asked once, measured once
    plan: list[Group] = []
    for group in groups:
        at_once = len(group) > 1 and worthwhile(group[0].together)
        plan += [group] if at_once else [[task] for task in group]
    return plan


def _check_needs(groups: Sequence[Group]) -> None:
    """Raise `DdkitError` where a task needs members that do not exist yet."""
    earlier: set[str] = set()
    for group in groups:
        for task in group:
            for name in task.needs:
                if name not in earlier:
                    raise DdkitError(f"pool task '{task.name}' needs '{name}', which comes later")
        earlier |= {task.name for task in group}


def _needs(group: Group) -> list[str]:
    """Return the tasks whose members a group starts from, each once."""
    return list(dict.fromkeys(name for task in group for name in task.needs))


def train_group(
    group: Group, folder: Path, description: Mapping[str, Any], device: torch.device
) -> None:
    """Train a group whose needs are met, unless it is finished, to a file for each of its tasks.

    Each member is on disk as soon as it exists, so that a killed group goes on from there.
    """
    if _finished(group, folder):
        return
    ready = Pool(folder, device)
    ready.description = dict(description)
    for name in _needs(group):
        ready.add_task(name)
    first = folder / PARTIAL / group[0].name
    context = TaskContext(first / "training.checkpoint.safetensors", ready)
    trained = first / "trained"  # the checkpoint is gone by then
    if not trained.exists():
        for name, number, member in _members(group, context):
            path = folder / PARTIAL / name / f"member-{number:05d}.safetensors"
            _write_member(path, number, member)
        write_text(trained, "")
    for task in group:
        _merge(folder / PARTIAL / task.name, _file(folder, task))
    for task in group:  # only now: until all files are there, a killed group needs its members
        shutil.rmtree(folder / PARTIAL / task.name)


def _members(group: Group, context: TaskContext) -> Iterator[tuple[str, int, Member]]:
    """Train a group and yield (task name, number, member)."""
    first = group[0]
    if len(group) > 1 and first.together is not None:
        yield from first.together.train([task.name for task in group], context)
    else:
        for number, member in first.train(context):
            yield first.name, number, member


def _write_member(path: Path, number: int, member: Member) -> None:
    tensors = {f"{number}.state.{name}": tensor for name, tensor in member.state.items()}
    tensors |= {f"{number}.extra.{name}": tensor for name, tensor in member.extra.items()}
    entry = {
        "number": number,
        "role": member.role,
        "step": member.step,
        "epoch": member.epoch,
        "figures": dict(member.figures),
        "pruning": member.pruning,
        **({} if member.network is None else {"network": member.network}),
    }
    write_tensors(path, tensors, entry)


def _merge(partial: Path, path: Path) -> None:
    """Write the members of a finished task into its one file."""
    files = [TensorFile(member) for member in sorted(partial.glob("member-*.safetensors"))]
    tensors = {name: tensor for file in files for name, tensor in file.read().items()}
    write_tensors(path, tensors, {"members": [file.metadata for file in files]})


def _finished(group: Group, folder: Path) -> bool:
    return all(_file(folder, task).exists() for task in group)


def _file(folder: Path, task: MemberTask) -> Path:
    return folder / f"{task.name}.safetensors"

"""Options of the command line: those of `ddkit.flags`, and some that several commands share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click

from ddkit.flags import RUN_FLAGS, DataFlags, DistillFlags
from ddkit.runtime.flag import Described, described

Command = TypeVar("Command", bound=Callable[..., Any])
KNOWN = described(DistillFlags)
OF_A_RUN = described(*RUN_FLAGS)


def flag_options(*names: str) -> Callable[[Command], Command]:
    """Add options for flags of `DistillFlags`; one of a run stays None where it is not said."""

    def add(command: Command) -> Command:
        for name in reversed(names):
            command = _option(KNOWN[name])(command)
        return command

    return add


def _option(known: Described) -> Callable[[Command], Command]:
    declared, kinds = known.option, set(_kinds(known.kind))
    default = None if known.name in OF_A_RUN else known.default
    how: dict[str, Any] = {
        "metavar": known.flag.metavar,
        "help": known.help,
        "default": default,
    }
    if bool in kinds and known.default is False:
        how["is_flag"] = True
    elif bool in kinds:
        declared = f"{declared}/--no-{declared[2:]}"
    elif choices := [each for each in _kinds(known.kind) if isinstance(each, str)]:
        how["type"] = click.Choice(choices)
    elif plain := [kind for kind in (Path, str, int, float) if kind in kinds]:
        how["type"] = click.Path(path_type=Path) if plain[0] is Path else plain[0]
    else:
        how["multiple"] = True
    names = [known.flag.short] if known.flag.short else []
    return click.option(*names, declared, known.name, **how)


def _kinds(hint: Any) -> Iterator[Any]:
    """Serve the parts of a union, and the choices of a `Literal`."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _kinds(part)
    else:
        yield hint


run_options = flag_options(*OF_A_RUN)
data_options = flag_options(*described(DataFlags))
label_options = flag_options("labels_as", "label_views")
executor_options = flag_options("executor", "address")
log_option = flag_options("log")
set_option = flag_options("settings")


def output_options(command: Command) -> Command:
    """Add --json and -q."""
    command = click.option("--json", "as_json", is_flag=True, help="print figures for machines")(
        command
    )
    return click.option("-q", "--quiet", is_flag=True, help="no progress bars")(command)

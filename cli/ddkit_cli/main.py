"""The `ddkit` command: finds its subcommands by name and turns errors into one line."""

import shlex
import sys
from importlib.metadata import version
from typing import NoReturn

import click

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.registry import Registry
from ddkit.runtime.shown import one_line, shown

COMMANDS = Registry(
    "command",
    "ddkit.commands",
    {
        name: f"ddkit_cli.commands.{name}:{name}"
        for name in (
            "distill",
            "plan",
            "evaluate",
            "bench",
            "report",
            "train",
            "relabel",
            "merge",
            "subset",
            "pool",
            "methods",
            "data",
            "inspect",
            "show",
            "export",
        )
    }
    | {
        "import": "ddkit_cli.commands.import_:import_",
        "new-plugin": "ddkit_cli.commands.new_plugin:new_plugin",
    },
    hint="see `ddkit --help`",
)


class Commands(click.Group):
    """Subcommands are imported when used; their modules import torch in their functions."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        own = list(COMMANDS.builtins)
        return own + [name for name in COMMANDS.names() if name not in own and _loads(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command: click.Command = COMMANDS.load(cmd_name)
        return command


def _loads(name: str) -> bool:
    """Return whether a command can be imported: a broken one must not take the help with it."""
    try:
        COMMANDS.load(name)
    except DdkitError:
        return False
    return True


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("ddkit"), prog_name="ddkit")
def ddkit() -> None:
    """Distil a labelled image set into a few synthetic images per class.

    \b
    ddkit distill --method teddy --data digits --ipc 1
    ddkit evaluate runs/teddy-digits-ipc1-seed0
    """


def main() -> NoReturn:
    """Run the command line. Exit codes: 0, 1 for wrong input, 130 for Ctrl-C."""
    from ddkit.runtime.interrupt import Stopped

    try:
        ddkit.main(standalone_mode=False)
    except DdkitError as error:
        fail(str(error))
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.ClickException as error:
        fail(error.format_message())
    except (Stopped, KeyboardInterrupt, click.Abort):
        said = sys.argv[1:]
        if said[:1] in (["distill"], ["relabel"], ["bench"], ["evaluate"]):
            text = "what was done is kept; the same command continues from there:\n  "
            text += shown(shlex.join(["ddkit", *said]))
        else:
            text = "nothing was written"
        click.echo(f"\nstopped; {text}", err=True)
        sys.exit(130)
    except (MemoryError, OSError, RuntimeError) as error:
        if "torchvision::nms" in str(error):
            fail(TORCH_MISMATCH)
        _fail_short_of_memory(error)
        raise
    sys.exit(0)


def _fail_short_of_memory(error: Exception) -> None:
    """Leave where memory ran out beside all stages, which say more themselves."""
    from ddkit.runtime.shortage import enough_memory

    try:
        with enough_memory(f"ddkit {' '.join(sys.argv[1:2])}"):
            raise error
    except DdkitError as short:
        fail(str(short))


TORCH_MISMATCH = (
    "torch and torchvision come from different builds (operator torchvision::nms does not exist): "
    "pip install --force-reinstall torch torchvision"
)


def fail(message: str) -> NoReturn:
    """Print one line to stderr and leave with exit code 1."""
    click.echo(f"error: {one_line(message)}", err=True)
    sys.exit(1)

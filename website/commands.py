"""The help of every command, as the command line prints it."""

from collections.abc import Iterator

import click
from ddkit_cli.main import ddkit

WIDTH = 80


def commands(_: str = "") -> str:
    """Return a heading and the help of each command, in the order of `ddkit --help`."""
    root = click.Context(ddkit, info_name="ddkit", terminal_width=WIDTH, **ddkit.context_settings)
    return "\n\n".join(
        f"## {context.command_path}\n\n```text\n{context.get_help()}\n```"
        for context in [root, *below(root)]
    )


def below(context: click.Context) -> Iterator[click.Context]:
    """Serve a context for each command of a group, and of the groups in it."""
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            inner = click.Context(command, parent=context, info_name=name, terminal_width=WIDTH)
            yield inner
            yield from below(inner)

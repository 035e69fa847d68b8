"""`ddkit methods`: what is installed, and every option of a method."""

import click

from ddkit_cli.options import output_options


@click.command(short_help="list methods, or the options and presets of one")
@click.argument("name", required=False)
@click.option("--networks", is_flag=True, help="list the networks instead")
@output_options
def methods(name: str | None, networks: bool, as_json: bool, quiet: bool) -> None:
    """List the installed methods, or the options and presets of NAME."""
    if networks:
        _list_networks(as_json)
    elif name is None:
        _list_methods(as_json)
    else:
        _show(name, as_json)


def _list_networks(as_json: bool) -> None:
    from ddkit.networks import NETWORKS
    from ddkit.runtime.registry import origin
    from ddkit_cli import display

    entries = sorted(NETWORKS.entries().items())
    if as_json:
        display.as_json([name for name, _ in entries])
    else:
        display.table("networks", ["name", "from"], [(n, origin(entry)) for n, entry in entries])
        click.echo(
            "options follow after colons (convnet:depth=3:width=64); your own: file.py:factory"
        )


def _list_methods(as_json: bool) -> None:
    from ddkit.methods.plugin import ALIASES, METHODS
    from ddkit.runtime.registry import origin
    from ddkit_cli import display

    rows = [(name, "method", origin(entry)) for name, entry in sorted(METHODS.entries().items())]
    rows += [(name, "alias", origin(entry)) for name, entry in sorted(ALIASES.entries().items())]
    if as_json:
        display.as_json([dict(zip(("name", "kind", "from"), row, strict=True)) for row in rows])
    else:
        display.table("methods", ["name", "kind", "from"], rows)
        click.echo("options and presets of a method: ddkit methods NAME")


def _show(name: str, as_json: bool) -> None:
    from ddkit.methods.plugin import Plugin, lookup
    from ddkit.methods.presets import preset_names
    from ddkit.runtime.described import describe
    from ddkit_cli import display

    plugin_name, alias = lookup(name)
    plugin = Plugin(plugin_name)
    changed = dict(alias.options) if alias else {}
    rows = [
        (key, kind, repr(changed[key]) if key in changed else default, meaning)
        for key, kind, default, meaning in describe(plugin.options_model())
    ]
    presets = preset_names(name)
    if as_json:
        keys = ("name", "type", "default", "meaning")
        display.as_json(
            {
                "method": name,
                "plugin": plugin_name,
                "presets": presets,
                "hooks": plugin.overridden(),
                "options": [dict(zip(keys, row, strict=True)) for row in rows],
            }
        )
        return
    if alias:
        click.echo(f"{name} is an alias of {plugin_name}: {alias.summary}")
    display.table(
        f"options of {name} (--set option=value)", ["option", "type", "default", "meaning"], rows
    )
    click.echo(
        f"hooks: {', '.join(plugin.overridden())}; default network: "
        f"{plugin.options_model().default_network}"
    )
    click.echo(f"presets: {', '.join(presets) or 'none'}")

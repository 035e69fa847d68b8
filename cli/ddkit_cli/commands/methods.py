"""`ddkit methods`: what is installed, and every option of a method."""

from typing import Any

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
        display.say(
            "options follow after colons (convnet:depth=3:width=64); your own: file.py:factory"
        )


def _list_methods(as_json: bool) -> None:
    from ddkit.methods.about import COSTS, MEASURED, about, stands_for
    from ddkit.methods.plugin import ALIASES, METHODS
    from ddkit.runtime.registry import origin
    from ddkit_cli import display

    aliases = ALIASES.entries()
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "kind": "alias" if name in aliases else "method",
            "method": stands_for(name) if name in aliases else None,
            "from": origin(entry),
            **about(name).model_dump(),
        }
        for name, entry in (*sorted(METHODS.entries().items()), *sorted(aliases.items()))
    ]
    if as_json:
        display.as_json(rows)
        return
    for row in rows:
        method = f"alias of {row['method']}: " if row["method"] else ""
        paper = f" ({row['paper']})" if row["paper"] else ""
        row["what it is"] = f"{method}{row['summary']}{paper}"
    columns = ["name", "what it is", "labels", "steps", "cost", "from"]
    display.table("methods", columns, [[row[column] for column in columns] for row in rows])
    display.say(f"cost: {MEASURED}: {'; '.join(map(' = '.join, COSTS.items()))}")
    display.say("options and presets of a method: ddkit methods NAME")


def _show(name: str, as_json: bool) -> None:
    from ddkit.methods.about import about
    from ddkit.methods.options import by_stage
    from ddkit.methods.plugin import Plugin, lookup
    from ddkit.methods.presets import preset_names
    from ddkit.runtime.described import describe
    from ddkit_cli import display

    plugin_name, alias = lookup(name)
    plugin, facts = Plugin(plugin_name), about(name)
    model = plugin.options_model()
    changed = dict(alias.options) if alias else {}
    rows = {
        key: (key, kind, repr(changed[key]) if key in changed else default, meaning)
        for key, kind, default, meaning in describe(model)
    }
    presets = preset_names(name)
    if as_json:
        keys = ("name", "type", "default", "meaning")
        display.as_json(
            {
                "method": name,
                "plugin": plugin_name,
                "about": facts.model_dump() | {"steps": model.steps_option or ""},
                "presets": presets,
                "hooks": plugin.overridden(),
                "options": [dict(zip(keys, row, strict=True)) for row in rows.values()],
                "stages": by_stage(model),
            }
        )
        return
    summary = facts.summary or (alias.summary if alias else "")
    display.say(f"{name}: {summary or 'no description'}")
    if alias:
        said = {**alias.options, **({"init": alias.init} if alias.init else {})}
        display.say(
            f"stands for: {plugin_name} with {', '.join(f'{k}={v}' for k, v in said.items())}"
        )
    for what, value in (("paper", facts.paper), ("labels", facts.labels), ("cost", facts.cost)):
        if value:
            display.say(f"{what}: {value}")
    display.say(f"steps: {model.steps_option or 'none'}")
    if model.default_network:
        display.say(f"default network: {model.default_network}")
    for stage, names in by_stage(model).items():
        columns = ["option", "type", "default", "meaning"]
        display.table(f"{stage} (--set option=value)", columns, [rows[key] for key in names])
    display.say(f"hooks: {', '.join(plugin.overridden())}")
    display.say(f"presets: {', '.join(presets) or 'none'}")

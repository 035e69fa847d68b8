"""`ddkit export`: a distilled set in the layout of another tool."""

from pathlib import Path
from typing import Any

import click

from ddkit.distilled.interop.formats import FORMATS, LAYOUTS
from ddkit_cli.options import output_options

LIST = "\n".join(f"  {name:<12}{LAYOUTS.get(name, '')}" for name in FORMATS.names())


@click.command(short_help="write a distilled set as another tool has it", epilog=f"\b\n{LIST}")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--format", "layout", metavar="NAME", required=True, help="one of those below")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="a new file or folder")
@click.option("--overwrite", is_flag=True, help="replace what --out holds")
@click.option(
    "--labels",
    type=click.Choice(["hard", "logits", "probabilities"]),
    help="hard drops soft labels; otherwise the form in which they are written",
)
@click.option("--batch-size", type=click.IntRange(1), help="batch size of FKD labels")
@click.option(
    "--push", metavar="OWNER/NAME", help="with hf: upload it to the Hugging Face hub instead"
)
@output_options
def export(
    artifact: Path,
    layout: str,
    out: Path | None,
    overwrite: bool,
    labels: Any,
    batch_size: int | None,
    push: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write ARTIFACT (a file, or a run's folder) in the layout of another tool."""
    from ddkit.distilled.interop.exporting import export_set, loading, push_set
    from ddkit.runtime.errors import DdkitError
    from ddkit_cli import display

    if (out is None) == (push is None):
        raise DdkitError("no target: give --out, or --push OWNER/NAME with --format hf")
    if push is not None:
        notes = push_set(artifact, push, layout, labels=labels)
    elif out is not None:
        notes = export_set(
            artifact, out, layout, labels=labels, batch_size=batch_size, overwrite=overwrite
        )
    where = out or push or ""
    load = loading(layout, where)
    if as_json:
        display.as_json({"out": where, "format": layout, "notes": notes, "load": load})
        return
    display.say(f"{where}: {layout}")
    for note in notes:
        display.say(f"note: {note}")
    if load is not None:
        display.say(f"load it: {load}")

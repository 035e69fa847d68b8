"""`ddkit distill`: a whole run, from a data set's name to one file."""

from typing import Any

import click

from ddkit.runtime.sizes import readable
from ddkit_cli.options import KNOWN, flag_options, output_options


@click.command(short_help="distil a data set into a few images per class")
@flag_options(*KNOWN)
@output_options
def distill(as_json: bool, quiet: bool, **flags: Any) -> None:
    """Distil a data set into a few synthetic images per class.

    The same command continues a run that was stopped or killed.
    """
    from ddkit.config import load_config
    from ddkit.pipeline import library
    from ddkit.runtime.cost import read_cost
    from ddkit_cli import display

    distilled = library.distill(**flags, progress=not (quiet or as_json))
    artifact, folder = distilled.file.path, distilled.file.path.parent
    cost, config = read_cost(folder), load_config(folder / "config.toml")
    if as_json:
        display.as_json(
            {"artifact": artifact, "cost": cost, "config": config.model_dump(mode="json")}
        )
        return
    rows = [
        ("artifact", str(artifact)),
        (
            "images",
            f"{distilled.stored.count} of {distilled.shape}, {readable(distilled.image_bytes)}",
        ),
        ("labels", f"{distilled.labels.kind}, {readable(distilled.labels.bytes)}"),
        *((name, str(value)) for name, value in sorted(cost.items())),
    ]
    display.table(f"{config.method} on {config.data.tag}, ipc {config.ipc}", ["", ""], rows)
    display.say(f"next: ddkit evaluate {folder}    or    ddkit show {folder}")

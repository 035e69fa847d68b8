"""`ddkit distill`: a whole run, from a data set's name to one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddkit.budget import readable
from ddkit_cli.options import executor_options, output_options, resolved
from ddkit_cli.run_options import run_options

if TYPE_CHECKING:
    from ddkit.config import RunConfig


@click.command(short_help="distil a data set into a few images per class")
@run_options
@click.option("-o", "--out", type=click.Path(path_type=Path), help="folder; default: under runs/")
@click.option("--overwrite", is_flag=True, help="throw away another run that --out holds")
@click.option(
    "--snapshot-every", type=int, default=0, metavar="N", help="keep images every N steps"
)
@executor_options
@output_options
def distill(
    method: str | None, out: Path | None, overwrite: bool, snapshot_every: int,
    executor: str, address: str | None, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Distil a data set into a few synthetic images per class.

    Started again with the same flags, a run that was stopped or killed goes on where it was.
    """
    from ddkit import pipeline
    from ddkit.cost import read_cost
    from ddkit.distilled import load
    from ddkit.execution import executing
    from ddkit.interrupt import stopping_on_signals
    from ddkit_cli import display

    config = resolved(method, flags)
    folder = out or default_folder(config)
    progress = display.progress_for(quiet or as_json)
    if config.preset:
        progress.note(f"preset {config.preset}")
    with executing(executor, address) as chosen, stopping_on_signals():
        artifact = pipeline.distill(
            config, folder, progress, overwrite=overwrite, snapshot_every=snapshot_every,
            executor=chosen,
        )  # fmt: skip
    cost = read_cost(folder)
    distilled = load(artifact)
    if as_json:
        display.as_json(
            {"artifact": artifact, "cost": cost, "config": config.model_dump(mode="json")}
        )
        return
    rows = [
        ("artifact", str(artifact)),
        (
            "images",
            f"{len(distilled)} of {distilled.shape}, {readable(distilled.image_bytes)}",
        ),
        ("labels", f"{distilled.labels.kind}, {readable(distilled.labels.bytes)}"),
        *((name, str(value)) for name, value in sorted(cost.items())),
    ]
    display.table(f"{config.method} on {config.data.tag}, ipc {config.ipc}", ["", ""], rows)
    click.echo(f"next: ddkit evaluate {folder}    or    ddkit show {folder}")


def default_folder(config: "RunConfig") -> Path:
    """Return runs/<method>-<data>-ipc<n>-seed<s>."""
    return Path("runs") / f"{config.method}-{config.data.tag}-ipc{config.ipc}-seed{config.seed}"

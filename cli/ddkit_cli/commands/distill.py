"""`ddkit distill`: a whole run, from a data set's name to one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddkit.budget import readable
from ddkit_cli.options import data_options, output_options, resolved, set_option

if TYPE_CHECKING:
    from ddkit.config import RunConfig


@click.command(short_help="distil a data set into a few images per class")
@click.option("-m", "--method", help="a method or an alias; default: teddy (see `ddkit methods`)")
@click.option("-d", "--data", help="a name or a folder; default: digits (see `ddkit data`)")
@click.option("--ipc", type=int, help="synthetic images per class; default: 1")
@click.option(
    "--network", metavar="SPEC", help="such as resnet18 or convnet:depth=3 or net.py:make"
)
@click.option("--seed", type=int, help="the distillation seed; default: 0")
@click.option("--pool-seed", type=int, help="the seed of the pool; default: --seed")
@click.option("--init", metavar="real|noise|FILE", help="where images start")
@click.option("--preset", help="published settings by name, or none; default: those that fit")
@set_option
@click.option("--pool", metavar="NAME", help="a finished pool (`ddkit pool list`), or its folder")
@click.option("--pool-from", metavar="METHOD", help="whose pool of networks is used")
@click.option("--relabel-from", metavar="METHOD", help="who labels the images")
@click.option("--evaluate-from", metavar="METHOD", help="whose own protocol `evaluate --own` uses")
@data_options
@click.option(
    "--store", type=click.Choice(["auto", "uint8", "float16", "float32"]), help="of images"
)
@click.option("--groups", type=int, metavar="G", help="distil G parts of the set apart, and merge")
@click.option(
    "--memory-budget", metavar="SIZE", help="of a step, such as 6.5GB, where it can adapt"
)
@click.option("--device", help="cpu, cuda or cuda:N; default: cuda where there is one")
@click.option("--threads", type=int, help="CPU threads; results depend on them in the last bits")
@click.option(
    "--config", type=click.Path(path_type=Path), help="repeat the run of this config.toml"
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="folder; default: under runs/")
@click.option("--overwrite", is_flag=True, help="throw away another run that --out holds")
@click.option(
    "--snapshot-every", type=int, default=0, metavar="N", help="keep images every N steps"
)
@output_options
def distill(
    method: str | None, out: Path | None, overwrite: bool, snapshot_every: int,
    as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Distil a data set into a few synthetic images per class.

    Started again with the same flags, a run that was stopped or killed goes on where it was.
    """
    from ddkit import pipeline
    from ddkit.cost import read_cost
    from ddkit.distilled import load
    from ddkit.interrupt import stopping_on_signals
    from ddkit_cli import display

    config = resolved(method, flags)
    folder = out or default_folder(config)
    progress = display.progress_for(quiet or as_json)
    if config.preset:
        progress.note(f"preset {config.preset}")
    with stopping_on_signals():
        artifact = pipeline.distill(
            config, folder, progress, overwrite=overwrite, snapshot_every=snapshot_every
        )
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

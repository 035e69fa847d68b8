"""`ddkit relabel`: the same images with other labels."""

from pathlib import Path

import click

from ddkit.budget import readable
from ddkit_cli.options import output_options, set_option


@click.command(short_help="give a distilled set other labels")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--relabel-from", metavar="METHOD", help="who labels; default: who did for the run")
@set_option
@click.option("--data", help="where the data lie now, if elsewhere than for the run")
@click.option("--device", help="instead of the run's")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="a new file")
@output_options
def relabel(
    artifact: Path, relabel_from: str | None, settings: tuple[str, ...], data: str | None,
    device: str | None, out: Path, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Label the images of ARTIFACT anew and write them to --out."""
    from ddkit import comparison, pipeline
    from ddkit.distilled import load
    from ddkit.errors import DdkitError
    from ddkit.interrupt import stopping_on_signals
    from ddkit.resolve import with_relabel
    from ddkit_cli import display

    if out.exists():
        raise DdkitError(f"--out {out} exists already: name a new file")
    distilled = load(artifact)
    config = with_relabel(comparison.config_of(distilled, data, device), relabel_from, settings)
    progress = display.progress_for(quiet or as_json)
    with stopping_on_signals():
        run = comparison.run_of(distilled, config, out.parent, progress)
        pipeline.relabel_into(run, distilled.synthetic(), out)
    labels = load(out).labels
    if as_json:
        display.as_json({"artifact": out, "labels": labels.kind, "label_bytes": labels.bytes})
    else:
        click.echo(f"{out}: labels {labels.kind}, {readable(labels.bytes)}")

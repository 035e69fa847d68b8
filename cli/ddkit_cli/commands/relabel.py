"""`ddkit relabel`: the same images with other labels, or the same labels in another form."""

from pathlib import Path
from typing import Any

import click

from ddkit.runtime.sizes import readable
from ddkit_cli.options import label_options, output_options, set_option


@click.command(short_help="give a distilled set other labels, or store them differently")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--relabel-from", metavar="METHOD", help="the method that labels; default: the run's")
@set_option
@click.option("--pool", metavar="NAME", help="the pool that labels, or its folder")
@click.option(
    "--network", metavar="SPEC", help="the set's own network, to be named if it is a file"
)
@label_options
@click.option("--keep-epochs", type=int, metavar="N", help="keep the labels of the first N epochs")
@click.option("--data", help="where the data are now, if they have moved since the run")
@click.option("--device", help="instead of the run's")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="a new file")
@output_options
def relabel(
    artifact: Path,
    relabel_from: str | None,
    settings: tuple[str, ...],
    pool: str | None,
    network: str | None,
    labels_as: str | None,
    label_views: Any,
    keep_epochs: int | None,
    data: str | None,
    device: str | None,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label the images of ARTIFACT again, or store its labels differently, and write them to --out.

    New labels are made if only --out is given, or with --relabel-from, --pool, --set or a recipe.
    With --labels-as, --label-views or --keep-epochs alone the existing labels are converted, and
    no pool is needed.
    """
    from ddkit.distilled.dataset import load
    from ddkit.labels.converting import asked_form
    from ddkit.pipeline import relabel as relabelling
    from ddkit.runtime.interrupt import stopping_on_signals
    from ddkit_cli import display

    wanted = relabelling.RelabelRequest(
        relabel_from, settings, pool, network, asked_form(labels_as), label_views, keep_epochs
    )
    progress = display.progress_for(quiet or as_json)
    with stopping_on_signals():
        lost = relabelling.relabel(artifact, out, wanted, progress, data=data, device=device)
    labels = load(out).labels
    if as_json:
        display.as_json(
            {
                "artifact": out,
                "labels": labels.kind,
                "form": labels.form,
                "epochs": labels.epochs,
                "label_bytes": labels.bytes,
                "view_bytes": labels.view_bytes,
                "lost": lost,
            }
        )
    else:
        display.say(f"{out}: labels {labels.kind}, {labels.form}, {readable(labels.bytes)}")
        if lost:
            display.say(lost)

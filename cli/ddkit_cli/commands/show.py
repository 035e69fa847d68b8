"""`ddkit show`: the images, as a picture."""

from pathlib import Path

import click

from ddkit_cli.options import output_options


@click.command(short_help="draw a contact sheet of a distilled set")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="default: beside the artifact")
@click.option(
    "--per-class",
    type=int,
    default=10,
    show_default=True,
    help="largest number of images per class",
)
@click.option(
    "--max-classes", type=int, default=20, show_default=True, help="largest number of classes"
)
@output_options
def show(
    artifact: Path, out: Path | None, per_class: int, max_classes: int, as_json: bool, quiet: bool
) -> None:
    """Draw the images of ARTIFACT as a PNG, one row per class.

    For a run's folder, each image stands beside the one it started from.
    """
    from ddkit.distilled import contact_sheet
    from ddkit.distilled.dataset import artifact_path, load
    from ddkit.runtime.errors import DdkitError
    from ddkit.synthesis.shard_file import initial_images
    from ddkit_cli import display

    if per_class < 1 or max_classes < 1:
        raise DdkitError("--per-class and --max-classes must be 1 or more")
    path = artifact_path(artifact)
    distilled = load(path).stored
    target = out or path.with_name("contact-sheet.png")
    initial = initial_images(path.parent, len(distilled))
    contact_sheet.draw(distilled, initial, target, per_class=per_class, max_classes=max_classes)
    if as_json:
        display.as_json({"sheet": target, "initial": initial is not None})
    else:
        display.say(f"{target}" + (": initial left, final right" if initial is not None else ""))

"""`ddkit subset`: some images of a distilled set as a set of their own."""

from pathlib import Path

import click

from ddkit_cli.options import output_options

LARGEST = 10**7  # index; no set has so many images


@click.command(short_help="keep some images of a distilled set")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--ipc", type=click.IntRange(1), help="keep the first N images of each class")
@click.option("--classes", metavar="A,B | N", help="keep these classes, or the first N")
@click.option(
    "--indices", metavar="0,5,10-19", help="keep these images; without --ipc and --classes"
)
@click.option("--labels", type=click.Choice(["hard"]), help="drop soft labels")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="a new file")
@click.option("--overwrite", is_flag=True, help="replace the distilled set that --out holds")
@output_options
def subset(
    artifact: Path,
    ipc: int | None,
    classes: str | None,
    indices: str | None,
    labels: str | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write some images of ARTIFACT (a file, or a run's folder), with their labels, to --out."""
    from ddkit.data.options import DataOptions
    from ddkit.distilled.dataset import load
    from ddkit.distilled.subset import Wanted
    from ddkit.distilled.subset import subset as cut
    from ddkit.runtime.settings import validated
    from ddkit.runtime.sizes import readable
    from ddkit_cli import display

    names = validated(DataOptions, {"classes": classes}, "--classes").classes
    rows = None if indices is None else numbered(indices)
    wanted = Wanted(ipc, names, rows, labels == "hard")
    found = load(cut(artifact, out, wanted, overwrite=overwrite))
    if as_json:
        display.as_json(
            {
                "artifact": out,
                "images": len(found.stored),
                "classes": found.class_names,
                "labels": found.labels.kind,
                "image_bytes": found.image_bytes,
                "label_bytes": found.labels.bytes,
            }
        )
        return
    display.say(
        f"{out}: {len(found.stored)} images of {len(found.class_names)} classes, "
        f"{readable(found.image_bytes)}; labels {found.labels.kind}, {readable(found.labels.bytes)}"
    )
    display.say(f"next: ddkit {'evaluate' if found.metadata.get('config') else 'show'} {out}")


def numbered(text: str) -> list[int]:
    """Return the numbers of "0,5,10-19"."""
    from ddkit.runtime.errors import DdkitError

    found: list[int] = []
    for part in text.split(","):
        first, dash, last = (each.strip() for each in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise DdkitError(f"--indices {text}: give numbers and ranges, such as 0,5,10-19")
        found += range(int(first), min(int(last or first), LARGEST) + 1)
    return found

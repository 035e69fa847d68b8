"""`ddkit import`: the distilled set of another tool becomes an artifact."""

from pathlib import Path
from typing import Any

import click

from ddkit.distilled.interop.formats import FORMATS, LAYOUTS
from ddkit.runtime.sizes import readable
from ddkit_cli.commands.pool import numbers
from ddkit_cli.options import data_options, output_options

LIST = "\n".join(f"  {name:<12}{LAYOUTS.get(name, '')}" for name in FORMATS.names())


@click.command("import", short_help="import a distilled set of another tool", epilog=f"\b\n{LIST}")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--format", "layout", metavar="NAME", help="default: recognised by file names")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="a new file")
@click.option("--overwrite", is_flag=True, help="replace the distilled set that --out holds")
@click.option("-d", "--data", help="the data it was distilled from: gives classes, mean and std")
@data_options
@click.option(
    "--mean",
    metavar="A,B,C",
    help="mean of each channel, for pixels from 0 to 1, as the tool has it",
)
@click.option("--std", metavar="A,B,C", help="standard deviation, likewise")
@click.option(
    "--labels",
    type=click.Choice(["hard", "logits", "probabilities", "targets"]),
    help="what the numbers per class are; hard takes the largest, targets are a regression's",
)
@click.option(
    "--lr", type=click.FloatRange(0, min_open=True), help="the learning rate that the tool uses"
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, min_open=True),
    help="the temperature that the tool uses",
)
@click.option("--factor", type=click.IntRange(1, 16), help="factor of IDC's multi-formation")
@click.option("--fkd", type=click.Path(path_type=Path), help="a folder of FKD soft labels")
@click.option(
    "--network", metavar="SPEC", help="the network to train; default: convnet, or the format's own"
)
@click.option(
    "--store",
    type=click.Choice(["uint8", "float16", "float32"]),
    help="how pixels are stored; default: uint8 if that loses nothing, otherwise float32",
)
@click.option(
    "--trust",
    type=click.Choice(["pixels", "labels"]),
    multiple=True,
    help="accept them as they are, even if they seem to be something else",
)
@output_options
def import_(
    source: Path,
    layout: str | None,
    out: Path,
    overwrite: bool,
    data: str | None,
    mean: str | None,
    std: str | None,
    labels: Any,
    lr: float | None,
    temperature: float | None,
    factor: int | None,
    fkd: Path | None,
    network: str | None,
    store: Any,
    trust: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Write the distilled set at SOURCE, a file or folder of another tool, as an artifact.

    Nothing in it is executed. What its format does not record must be given. Without --data,
    --classes names the classes in the order of the labels: A,B,C or a file with a name per line.
    """
    from ddkit.distilled.dataset import load
    from ddkit.distilled.interop.importing import Request, import_set
    from ddkit_cli import display

    request = Request(
        format=layout,
        **described(data, flags),
        mean=numbers("--mean", mean),
        std=numbers("--std", std),
        network=network,
        store=store,
        labels=labels,
        learning_rate=lr,
        temperature=temperature,
        factor=factor,
        soft_labels=fkd,
        trust=trust,
    )
    progress = display.progress_for(quiet or as_json)
    distilled = load(import_set(source, out, request, overwrite=overwrite, progress=progress))
    if as_json:
        display.as_json(
            {
                "artifact": out,
                "images": len(distilled.stored),
                "shape": distilled.shape,
                "classes": len(distilled.class_names),
                "labels": distilled.labels.kind,
                "learning_rate": distilled.learning_rate,
                "format": distilled.metadata["imported"],
                "mean": distilled.space.mean.tolist(),
                "std": distilled.space.std.tolist(),
            }
        )
        return
    space = distilled.space
    used = (
        space.kind
        if space.kind != "standard"
        else (
            f"mean {listed(space.mean)}, std {listed(space.std)}"
            + ("" if mean else ": those of the data; many tools have others, see docs/formats.md")
        )
    )
    display.table(
        str(out),
        ["", ""],
        [
            ("format", distilled.metadata["imported"]["format"]),
            (
                "images",
                f"{distilled.stored.count} of {distilled.shape}, {readable(distilled.image_bytes)}",
            ),
            ("labels", f"{distilled.labels.kind}, {readable(distilled.labels.bytes)}"),
            ("input space", used),
        ],
    )
    display.say(f"next: ddkit {'evaluate' if data else 'show'} {out}")


def described(data: str | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return what a request says of the data, or of the classes where no data are named."""
    from ddkit.data.options import DataOptions
    from ddkit.runtime.errors import DdkitError
    from ddkit.runtime.settings import validated

    said = {key: value for key, value in flags.items() if value is not None}
    unit = said.get("space") == "unit"
    if data is not None:
        options = validated(DataOptions, {"name": data, **said}, "the data set")
        return {"data": options, "unit": unit}
    classes, mirror, space = (said.pop(key, None) for key in ("classes", "flip", "space"))
    whitened = space is not None and space.startswith("zca")
    if said or whitened:
        flag = f"--space {space}" if whitened else f"--{next(iter(said)).replace('_', '-')}"
        raise DdkitError(f"{flag} describes the data: name them with --data")
    return {
        "classes": None if classes is None else class_names(classes),
        "mirror": mirror is not False,
        "unit": unit,
    }


def class_names(text: str) -> list[str]:
    """Return class names: those in a file of that name, a line each, or separated by commas."""
    from ddkit.data.options import is_file, names_in
    from ddkit.runtime.errors import DdkitError

    try:
        listed = names_in(text) if is_file(text) else text.split(",")
    except ValueError as error:
        raise DdkitError(f"--classes {error}") from error
    names = [name.strip() for name in listed if name.strip()]
    if not names or len(set(names)) != len(names):
        raise DdkitError(
            f"--classes {text}: name each class once, as A,B,C or one per line of a file"
        )
    return names


def listed(values: Any) -> str:
    return ",".join(f"{value:.4g}" for value in values.tolist())

"""`ddkit evaluate`: how well networks train on a distilled set, beside random real images."""

from pathlib import Path
from typing import Any

import click

from ddkit_cli.options import executor_options, log_option, output_options


@click.command(short_help="train networks on a distilled set and test them, beside random images")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--protocols",
    help="comma-separated; default: dsa (hard labels), and the one that suits the labels",
)
@click.option("--networks", help="comma-separated; default: the run's")
@click.option(
    "--seeds", type=int, default=5, show_default=True, help="networks trained for each accuracy"
)
@click.option("--epochs", type=int, help="instead of the protocol's")
@click.option("--batch-size", type=int, help="instead of the protocol's")
@click.option("--lr", type=float, help="instead of the protocol's")
@click.option("--data", help="where the data are now, if they have moved since the run")
@click.option(
    "--random/--no-random", default=True, help="compare with random real images, same recipe"
)
@click.option("--real/--no-real", default=True, help="compare with all real data")
@click.option("--tune-lr", is_flag=True, help="choose each set's learning rate on the holdout")
@click.option("--own", is_flag=True, help="also use the method's own protocol")
@click.option("--device", help="instead of the run's")
@click.option(
    "--precision", type=click.Choice(["fp32", "tf32"]), help="on CUDA, instead of the run's"
)
@log_option
@executor_options
@output_options
def evaluate(artifact: Path, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Train networks on ARTIFACT (a file, or a run's folder) and test them on real data.

    Each accuracy is shown beside that of random real images, with the same labelling and recipe: a
    single draw, the images that a run with this seed starts from. Nothing is chosen on test data.
    Results are kept: the same command continues where it stopped.
    """
    from ddkit.pipeline import library
    from ddkit_cli import display

    rows = library.evaluate(artifact, **flags, progress=not (quiet or as_json))
    if as_json:
        display.as_json(rows.to_json())
    else:
        display.table(str(artifact), rows.headings, rows.cells())
        for note in rows.notes:
            display.say(note)

"""Flags that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def data_options(command: Command) -> Command:
    """Add the flags that say which images are used."""
    for option in reversed(
        [
            click.option("--image-column", metavar="NAME", help="column of the images, if unclear"),
            click.option("--label-column", metavar="NAME", help="column of the labels, if unclear"),
            click.option(
                "--classes",
                metavar="A,B | FILE | N",
                help="keep these classes, those on the lines of a file, or the first N",
            ),
            click.option("--resize", type=int, metavar="PIXELS", help="scale and crop to a square"),
            click.option(
                "--detail",
                type=int,
                metavar="PIXELS",
                help="cut random crops out of images of this side, not of --resize",
            ),
            click.option(
                "--test-share",
                type=float,
                metavar="SHARE",
                help="of each class, as the test split of a set without one",
            ),
            click.option(
                "--holdout", type=float, metavar="SHARE", help="set aside of training data"
            ),
            click.option("--imbalance", metavar="LOW[:HIGH]", help="keep a random share per class"),
            click.option("--flip/--no-flip", default=None, help="may images be mirrored?"),
            click.option(
                "--space",
                type=click.Choice(["standard", "zca", "unit"]),
                help="what networks see: standardised, ZCA-whitened, or 0 to 1",
            ),
        ]
    ):
        command = option(command)
    return command


def label_options(command: Command) -> Command:
    """Add --labels-as and --label-views."""
    command = click.option(
        "--label-views",
        type=click.Choice(["auto", "seed", "stored"]),
        help="augmentations of labelled images; default: a seed where they follow from one",
    )(command)
    return click.option(
        "--labels-as",
        metavar="FORM",
        help="how soft labels are stored: fp16, int8, top-k:K, or recipe (made while training)",
    )(command)


def output_options(command: Command) -> Command:
    """Add --json and -q."""
    command = click.option("--json", "as_json", is_flag=True, help="print figures for machines")(
        command
    )
    return click.option("-q", "--quiet", is_flag=True, help="no progress bars")(command)


def executor_options(command: Command) -> Command:
    """Add --executor and --address, for `ddkit.runtime.execution.executing`."""
    command = click.option(
        "--address", metavar="HOST:PORT", help="of a Ray cluster, or auto; default: Ray on this one"
    )(command)
    return click.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="where parts of the work are done (docs/scale.md); default: in this process",
    )(command)


set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="an option of the method (`ddkit methods NAME` lists them); STAGE.KEY=VALUE for one stage",
)

log_option = click.option(
    "--log",
    metavar="NAMES",
    help="tell losses, images and accuracies to tensorboard, wandb or others, with commas",
)

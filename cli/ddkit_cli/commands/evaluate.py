"""`ddkit evaluate`: how well networks train on a distilled set, beside random real images."""

from pathlib import Path

import click

from ddkit_cli.options import output_options


@click.command(short_help="train networks on a distilled set and test them, beside random images")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--protocols", help="names, with commas; default: dsa (hard labels), and what the labels suit"
)
@click.option("--networks", help="specs, with commas; default: the one of the run")
@click.option("--seeds", type=int, default=5, show_default=True, help="networks trained per figure")
@click.option("--epochs", type=int, help="instead of the protocol's")
@click.option("--batch-size", type=int, help="instead of the protocol's")
@click.option("--lr", type=float, help="instead of the protocol's")
@click.option("--data", help="where the data lie now, if elsewhere than for the run")
@click.option("--random/--no-random", default=True, help="beside random real images, same recipe")
@click.option("--real/--no-real", default=True, help="beside all real data")
@click.option("--tune-lr", is_flag=True, help="choose each set's learning rate on the holdout")
@click.option("--own", is_flag=True, help="the method's own protocol as well")
@click.option("--device", help="instead of the run's")
@output_options
def evaluate(
    artifact: Path, protocols: str | None, networks: str | None, seeds: int, epochs: int | None,
    batch_size: int | None, lr: float | None,
    data: str | None, random: bool, real: bool, tune_lr: bool, own: bool, device: str | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train networks on ARTIFACT (a file, or a run's folder) and test them on real data.

    Beside each figure stands that of random real images, with the same labelling, under the
    identical recipe: one draw of them, where the images of the run with its seed start. Nothing is
    chosen on test data.
    """
    from ddkit import comparison
    from ddkit.errors import DdkitError
    from ddkit.interrupt import stopping_on_signals
    from ddkit_cli import display

    if seeds < 1:
        raise DdkitError(f"--seeds must be 1 or more (got {seeds})")
    with stopping_on_signals():
        rows = comparison.compare(
            artifact,
            protocols=protocols.split(",") if protocols else None,
            networks=networks.split(",") if networks else None,
            seeds=range(seeds),
            recipe={"epochs": epochs, "batch_size": batch_size, "lr": lr},
            data=data,
            device=device,
            random=random,
            real=real,
            tune_lr=tune_lr,
            own=own,
            progress=display.progress_for(quiet or as_json),
        )
    if as_json:
        display.as_json([row.to_json() for row in rows])
        return
    display.table(
        str(artifact),
        ["set", "network", "protocol", "labels", "test accuracy", "n", "over random", "seconds"],
        [
            (
                row.title, row.evaluation.network, row.evaluation.protocol, row.evaluation.labels,
                display.percent(row.evaluation.accuracies), str(len(row.evaluation.accuracies)),
                "" if row.over_random is None else f"{100 * row.over_random:+.1f}",
                f"{row.evaluation.seconds:.0f}",
            )
            for row in rows
        ],
    )  # fmt: skip

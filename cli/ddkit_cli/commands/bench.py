"""`ddkit bench`: methods head to head, on the same data, networks and recipes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddkit.flags import DataFlags
from ddkit.runtime.flag import described
from ddkit_cli.options import data_options, executor_options, output_options

if TYPE_CHECKING:
    from ddkit.bench.config import BenchConfig
    from ddkit.runtime.progress import Progress


@click.command(short_help="compare methods on the same data, networks and recipes")
@click.option("-m", "--methods", help="comma-separated; default: random,teddy,tesla,apm")
@click.option("-d", "--data", help="names or folders, comma-separated; default: digits")
@click.option("--ipc", metavar="N,N,…", help="images per class; default: 1")
@click.option(
    "--network", metavar="SPEC", help="the network to distil with; default: each method's own"
)
@click.option("--networks", help="networks to train on the sets, comma-separated; default: convnet")
@click.option("--protocols", help="comma-separated; default: dsa,plain,own")
@click.option("--epochs", type=int, help="for every protocol, instead of its own")
@click.option("--seeds", type=int, help="distillation seeds; default: 1")
@click.option("--evaluation-seeds", type=int, help="networks per set and protocol; default: 3")
@click.option("--selection", help="the selection baseline, or none; default: herding")
@click.option("--real/--no-real", default=None, help="also train networks on all real data")
@click.option("--tune", is_flag=True, default=None, help="tune every learning rate on the holdout")
@click.option(
    "--budget-minutes",
    type=float,
    help="time for the synthesis of a set: each method takes the steps that fit",
)
@click.option(
    "--task",
    type=click.Choice(["accuracy", "continual", "ranking", "imbalanced"]),
    help="what the sets are used for; default: accuracy",
)
@data_options
@click.option(
    "--set", "settings", multiple=True, metavar="METHOD.KEY=VALUE", help="an option of a method"
)
@click.option("--config", type=click.Path(path_type=Path), help="a TOML file; flags override it")
@click.option("--device", help="cpu, cuda or cuda:N; default: cuda where there is one")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16"]),
    help="for all runs and networks on CUDA; default: the fastest (measured), networks in tf32",
)
@click.option("--compile", type=click.Choice(["auto", "on", "off"]), help="as for `ddkit distill`")
@click.option(
    "--threads", type=int, help="CPU threads per worker; default: 1, so that workers don't compete"
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="processes; default: one per core, or one on a GPU",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/bench"),
    show_default=True,
    help="folder for the store and all runs",
)
@click.option("--dry-run", is_flag=True, help="list the cells, with time, memory and disk")
@executor_options
@output_options
def bench(
    out: Path,
    workers: int | None,
    dry_run: bool,
    executor: str,
    address: str | None,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Compare methods on the same data, with the same networks and the same recipes.

    Each set is compared with random real images and a selection. Finished results are kept: the
    same command continues where it stopped. `ddkit report` makes a page of them.
    """
    from ddkit.bench.workers import default_workers, run_units, run_workers
    from ddkit.runtime.errors import DdkitError
    from ddkit.runtime.execution import LOCAL, executing
    from ddkit.runtime.interrupt import stopping_on_signals
    from ddkit_cli import display

    if workers and executor != "local":
        raise DdkitError(
            "--workers is for runs on this machine: Ray runs as many cells as it has room for"
        )
    config = bench_config(flags)
    progress = display.progress_for(quiet or as_json)
    count = workers or default_workers(config)
    if dry_run:
        list_cells(config, out, count, as_json, progress)
        return
    with executing(executor, address) as chosen, stopping_on_signals():
        if chosen is LOCAL:
            failed = run_workers(config, out, count, progress)
        else:
            failed = run_units(config, out, chosen, progress)
    show_results(out, as_json)
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise DdkitError(
            f"{failed[0]}{more}; everything else is done, and the same command tries again"
        )
    display.say(f"next: ddkit report {out}", err=True)


def bench_config(flags: dict[str, Any]) -> "BenchConfig":
    """Return the bench of a TOML file and of flags, which win."""
    from ddkit.bench.config import read_config
    from ddkit.runtime.errors import DdkitError

    data = {name: flags[name] for name in described(DataFlags) if flags[name] is not None}
    names = flags["data"].split(",") if flags["data"] else None
    if data and names is None:
        if flags["config"] is not None:
            flag = f"--{next(iter(data)).replace('_', '-')}"
            raise DdkitError(f"{flag} needs --data: {flags['config']} sets it for each data set")
        names = ["digits"]
    said = {
        "methods": listed(flags["methods"]),
        "data": [{"name": name, **data} for name in names] if names else None,
        "ipc": listed(flags["ipc"]),
        "networks": listed(flags["networks"]),
        "protocols": listed(flags["protocols"]),
        **{
            name: flags[name]
            for name in (
                "selection",
                "network",
                "epochs",
                "seeds",
                "evaluation_seeds",
                "real",
                "tune",
                "budget_minutes",
                "task",
                "device",
                "precision",
                "compile",
                "threads",
            )
        },
    }
    settings = dict[str, list[str]]()
    for text in flags["settings"]:
        method, _, setting = text.partition(".")
        if not method or not all(setting.partition("=")[:2]):
            raise DdkitError(f"'--set {text}' is not of the form METHOD.key=value")
        settings.setdefault(method, []).append(setting)
    return read_config(flags["config"], said, settings)


def listed(text: str | None) -> list[str] | None:
    """Return what commas separate; None where nothing was said."""
    return text.split(",") if text else None


def list_cells(
    config: "BenchConfig", out: Path, workers: int, as_json: bool, progress: "Progress"
) -> None:
    """Print what would be done, and what it would take."""
    from ddkit.bench.forecast import Forecaster
    from ddkit.runtime.sizes import readable
    from ddkit_cli import display

    forecasts = list(Forecaster(config, out).forecasts(progress))
    if as_json:
        display.as_json(
            [
                {**vars(forecast), "cell": forecast.cell.about(), "seconds": forecast.seconds}
                for forecast in forecasts
            ]
        )
        return
    columns = ["cell", "figures", "pool", "synthesis", "evaluation", "memory", "disk"]
    display.table(
        f"{out}: what is not done yet",
        columns,
        [
            (
                forecast.cell.title,
                str(forecast.figures),
                display.duration(forecast.pool_seconds),
                display.duration(forecast.synthesis_seconds),
                display.duration(forecast.evaluation_seconds),
                readable(forecast.peak_bytes),
                readable(forecast.disk_bytes),
            )
            for forecast in forecasts
        ],
    )
    total = sum(forecast.seconds for forecast in forecasts)
    disk = sum(forecast.disk_bytes for forecast in forecasts)
    display.say(
        f"about {display.duration(total / workers)} with {workers} worker(s), "
        f"{readable(disk)} of disk; shared baselines are counted with each cell"
    )


def show_results(out: Path, as_json: bool) -> None:
    """Print the figures of a bench, a line per method and protocol."""
    from ddkit.bench import tables
    from ddkit.bench.results import read_results
    from ddkit.bench.store import Store
    from ddkit_cli import display

    results = read_results(Store(out, create=False))
    if as_json:
        display.as_json(tables.as_json(results))
        return
    columns = [
        "method",
        "data",
        "ipc",
        "network",
        "protocol",
        "accuracy",
        "sets × networks",
        "over random",
        "over selection",
        "synthesis",
        "",
    ]
    display.table(
        str(out),
        columns,
        [
            (
                row.name,
                row.data,
                str(row.ipc),
                row.network,
                row.protocol,
                display.spread(row.accuracy),
                f"{row.accuracy.sets} × {row.accuracy.networks}",
                display.signed(row.over_random),
                display.signed(row.over_selection),
                f"{row.seconds['synthesis']:.0f} s",
                row.recipe,
            )
            for row in results.rows
        ],
    )
    for note in results.notes:
        display.say(f"note: {note}")

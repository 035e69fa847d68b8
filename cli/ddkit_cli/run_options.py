"""The flags that say what a run is; `ddkit.pipeline.flags` makes a configuration of them."""

from pathlib import Path

import click

from ddkit_cli.options import Command, data_options, label_options, set_option


def run_options(command: Command) -> Command:
    """Add the flags of a run: method, data, network, pools, device, or --config for all of them."""
    for option in reversed(
        [
            click.option(
                "-m", "--method", help="a method or an alias; default: teddy (see `ddkit methods`)"
            ),
            click.option(
                "-d", "--data", help="a name or a folder; default: digits (see `ddkit data`)"
            ),
            click.option("--ipc", type=int, help="synthetic images per class; default: 1"),
            click.option(
                "--network",
                metavar="SPEC",
                help="such as resnet18 or convnet:depth=3 or net.py:make",
            ),
            click.option("--seed", type=int, help="the distillation seed; default: 0"),
            click.option("--pool-seed", type=int, help="the seed of the pool; default: --seed"),
            click.option("--init", metavar="real|noise|FILE", help="where images start"),
            click.option(
                "--preset", help="published settings by name, or none; default: those that fit"
            ),
            set_option,
            click.option(
                "--pool", metavar="NAME", help="a finished pool (`ddkit pool list`), or its folder"
            ),
            click.option("--pool-from", metavar="METHOD", help="whose pool of networks is used"),
            click.option("--relabel-from", metavar="METHOD", help="who labels the images"),
            click.option(
                "--evaluate-from", metavar="METHOD", help="whose own protocol `evaluate --own` uses"
            ),
            data_options,
            click.option(
                "--store",
                type=click.Choice(["auto", "uint8", "float16", "float32"]),
                help="of images",
            ),
            label_options,
            click.option(
                "--groups", type=int, metavar="G", help="distil G parts of the set apart, and merge"
            ),
            click.option(
                "--memory-budget",
                metavar="SIZE",
                help="of a step, such as 6.5GB: what it does at once follows from it",
            ),
            click.option("--device", help="cpu, cuda or cuda:N; default: cuda where there is one"),
            click.option(
                "--precision",
                type=click.Choice(["auto", "fp32", "tf32", "bf16"]),
                help="of networks; default: float32 on a CPU, the fastest on CUDA (measured)",
            ),
            click.option(
                "--compile",
                type=click.Choice(["auto", "on", "off"]),
                help="torch.compile where pools are trained; default: on CUDA, where it is faster",
            ),
            click.option(
                "--threads", type=int, help="CPU threads; results depend on them in the last bits"
            ),
            click.option(
                "--config",
                type=click.Path(path_type=Path),
                help="repeat the run of this config.toml",
            ),
        ]
    ):
        command = option(command)
    return command

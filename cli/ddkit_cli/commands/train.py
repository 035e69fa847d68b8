"""`ddkit train`: train one network on a distilled set and keep it."""

from pathlib import Path
from typing import Any

import click

from ddkit_cli.options import output_options


@click.command(short_help="train one network on a distilled set and keep its weights")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--network", metavar="SPEC", help="default: the run's")
@click.option("--protocol", help="default: soft, or dsa for hard labels")
@click.option("--epochs", type=int, help="instead of the protocol's")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--precision", type=click.Choice(["fp32", "tf32"]), help="on CUDA; default: the run's"
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="a .safetensors file")
@output_options
def train(
    artifact: Path,
    network: str | None,
    protocol: str | None,
    epochs: int | None,
    seed: int,
    device: str,
    precision: Any,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train one network on ARTIFACT and write its weights to --out.

    Needs only the artifact, not the data it was distilled from.
    """
    from ddkit.distilled.dataset import load
    from ddkit.evaluation import accuracy
    from ddkit.evaluation.training import train_on
    from ddkit.networks.saved import save_network
    from ddkit.pipeline import evaluate
    from ddkit.runtime.interrupt import stopping_on_signals
    from ddkit.runtime.machine import find_device
    from ddkit.runtime.process import settle
    from ddkit.runtime.shortage import enough_memory
    from ddkit_cli import display

    distilled = load(artifact)
    where = find_device(device)
    config = distilled.metadata.get("config") or {}
    settle(where, precision or config.get("precision", "auto"))
    chosen = accuracy.default_protocol(distilled)
    if protocol is not None:
        chosen = accuracy.rated(accuracy.protocol_for(protocol), distilled)
    if epochs is not None:
        chosen = chosen.with_recipe(epochs=epochs)
    chosen = chosen.for_set(distilled)
    spec = evaluate.named_network(network) if network else evaluate.own_network(distilled)
    progress = display.progress_for(quiet or as_json)
    with (
        stopping_on_signals(),
        enough_memory("the training", where),
        progress.task(f"{chosen.name} on {spec}", chosen.recipe.epochs) as bar,
    ):
        model = train_on(distilled, chosen, spec, seed, where, lambda _: bar.advance())
    how = {"protocol": chosen.model_dump(mode="json"), "seed": seed}
    save_network(out, model, spec, distilled.space, distilled.class_names, distilled.shape, how)
    if as_json:
        display.as_json({"weights": out, "network": spec, "epochs": chosen.recipe.epochs})
    else:
        display.say(f"{spec}, trained for {chosen.recipe.epochs} epochs, is in {out}")

"""Bytes of labels against accuracy: python -m benchmarks.label_storage

One set of Teddy's with labels for each epoch, stored in every form: fewer bytes per vector, fewer
epochs, both, and a recipe. All are trained on alike; each figure is over evaluation seeds. Random
images with the same labels stand beside. Runs and evaluations are kept under runs/benchmark.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click

from benchmarks.writing import write
from ddkit.config import RunConfig, ViewForm
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import evaluate_with, open_test, protocol_for
from ddkit.labels import RecipeLabels
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import baseline_config, prepare
from ddkit.pipeline.relabel import RelabelRequest, relabel
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.files import read_json, write_json
from ddkit.runtime.progress import Silent

RUNS = Path("runs/benchmark/label-storage")


@dataclass(frozen=True)
class Scheme:
    """How labels are stored; None for `epochs` keeps all."""

    form: str
    epochs: int | None = None
    views: ViewForm = "auto"

    @property
    def title(self) -> str:
        kept = f", {self.epochs} epochs" if self.epochs else ""
        return self.form + kept + (", views stored" if self.views == "stored" else "")


SCHEMES = (
    Scheme("fp16", views="stored"),
    Scheme("fp16"),
    Scheme("int8"),
    Scheme("top-k:3"),
    Scheme("top-k:2"),
    Scheme("top-k:1"),
    Scheme("fp16", 100),
    Scheme("fp16", 30),
    Scheme("fp16", 10),
    Scheme("fp16", 3),
    # 40 times fewer bytes than logits and views of 300 epochs, then than their logits alone
    Scheme("int8", 30),
    Scheme("int8", 12),
    Scheme("top-k:3", 16),
    Scheme("top-k:2", 25),
    Scheme("top-k:1", 50),
    Scheme("recipe"),
)
PLAIN = ("fp16, views stored", "fp16")


def stored(artifact: Path, scheme: Scheme) -> Path:
    """Return the set with its labels stored so; converted where that was not done yet."""
    name = f"{scheme.form.replace(':', '')}-{scheme.epochs or 'all'}-{scheme.views}.safetensors"
    path = artifact.with_name(name)
    if not path.exists():
        wanted = RelabelRequest(form=scheme.form, epochs=scheme.epochs, views=scheme.views)
        relabel(artifact, path, wanted, Silent())
    return path


def accuracies(path: Path, config: RunConfig, seeds: int) -> list[float]:
    """Return the test accuracy in percent for each evaluation seed; kept beside the set."""
    kept = path.with_suffix(f".{seeds}.json")
    if not kept.exists():
        run = prepare(config, path.parent)
        protocol = protocol_for("soft").with_recipe(**config.protocol)
        result = evaluate_with(
            protocol,
            load(path),
            open_test(run),
            config.network,
            range(seeds),
            run.device,
            together=False,
        )
        write_json(kept, result.to_json())
    return [100 * accuracy for accuracy in read_json(kept)["accuracies"]]


def size(path: Path) -> dict[str, int | None]:
    """Return the bytes of logits and of views, and those of the pool that a recipe needs."""
    labels = load(path).labels
    pool = labels.pool_bytes if isinstance(labels, RecipeLabels) else 0
    return {"logits": labels.bytes - labels.view_bytes, "views": labels.view_bytes, "pool": pool}


@click.command()
@click.option("--data", default="digits")
@click.option("--resize", type=int)
@click.option("--ipc", type=int, default=10)
@click.option("--network", help="default: the preset's")
@click.option("--seeds", type=int, default=5, help="evaluation seeds")
@click.option("--set", "settings", multiple=True)
@click.option("--only", multiple=True, metavar="ROW", help="rows beside fp16; default: all")
@click.option("--name", default="label_storage", help="of the files under results/")
def main(
    data: str,
    resize: int | None,
    ipc: int,
    network: str | None,
    seeds: int,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    name: str,
) -> None:
    """Measure, and write results/<name>.json and .md."""
    common = {"ipc": ipc, "threads": 1, "network": network, "device": "cpu"}
    config = resolve(Request("teddy", common, {"name": data, "resize": resize}, settings))
    chosen = [each for each in SCHEMES if not only or each.title in (*PLAIN, *only)]
    figures: dict[str, Any] = {}
    for title, each in (("Teddy", config), ("random", baseline_config(config))):
        artifact = pipeline.distill(each, RUNS / stable_hash(each.model_dump(mode="json")))
        for scheme in chosen if title == "Teddy" else SCHEMES[1:2]:
            path = stored(artifact, scheme)
            found = {**size(path), "accuracy": accuracies(path, each, seeds)}
            figures[scheme.title if title == "Teddy" else f"random images, {scheme.title}"] = found
            click.echo(f"{title}, {scheme.title}: {found}")
    write(
        name,
        {"figures": figures, "config": config.model_dump(mode="json"), "seeds": seeds},
        rows_of(figures),
        [
            "labels",
            "logits",
            "views",
            "fewer, × (logits)",
            "fewer, × (all)",
            "accuracy, %",
            "against fp16",
        ],
        f"{config.data.tag}, ipc {ipc}, {config.network}: labels of Teddy's pool for "
        f"{config.options['label_epochs']} epochs, trained on with `soft`; mean and standard "
        f"deviation over {seeds} evaluation seeds of one set. Fewer: than fp16 logits, without "
        "views on either side, and with the views stored, as FKD has them. A recipe needs its "
        "pool beside it; the figure in brackets is the pool's.",
    )


def rows_of(figures: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table: bytes, how many times fewer, accuracy."""
    whole = figures["fp16, views stored"]
    logits, everything = whole["logits"], whole["logits"] + whole["views"]
    base = fmean(figures["fp16"]["accuracy"])
    rows = []
    for title, found in figures.items():
        total = found["logits"] + found["views"]
        values = found["accuracy"]
        pool = f" ({found['pool']:,})" if found["pool"] else ""
        rows.append(
            (
                title,
                f"{found['logits']:,}{pool}",
                f"{found['views']:,}",
                f"{logits / found['logits']:.1f}" if found["logits"] else "",
                f"{everything / total:.1f}" if total else "",
                f"{fmean(values):.1f} ± {stdev(values):.1f}",
                f"{fmean(values) - base:+.1f}",
            )
        )
    return rows


if __name__ == "__main__":
    main()

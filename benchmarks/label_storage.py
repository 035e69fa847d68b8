"""Bytes of labels against accuracy: python -m benchmarks.label_storage

One set of Teddy's with labels for each epoch, stored in every form: fewer bytes per vector, fewer
epochs, both, and a recipe. All are trained on alike, by `soft`, and some by `soft-aligned` and each
of its two parts, too; each figure is over evaluation seeds. Epochs that are kept are whole ones, in
which each image is labelled once; as LPLD does it, random batches of all epochs are kept, and each
epoch of a training takes some of them. Random images with the same labels stand beside. Runs and
evaluations are kept under runs/benchmark.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click
import torch

from benchmarks.writing import write
from ddkit.config import RunConfig
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.evaluation.accuracy import evaluate_with, open_test, protocol_for
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.training import TrainingSet, create
from ddkit.flags import ViewForm
from ddkit.labels import RecipeLabels
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import baseline_config, prepare
from ddkit.pipeline.relabel import RelabelRequest, relabel
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.files import read_json, write_json
from ddkit.runtime.progress import Silent
from ddkit.runtime.seeds import generator
from ddkit.training import loop as training

RUNS = Path("runs/benchmark/label-storage")


@dataclass(frozen=True)
class Scheme:
    """How labels are stored and trained on.

    Attributes:
        epochs: how many are kept; None: all.
        recipe: what of `soft` is changed.
        pooled: whether random batches are kept instead, as many as those epochs have.
    """

    form: str
    epochs: int | None = None
    views: ViewForm = "auto"
    recipe: tuple[tuple[str, float | bool], ...] = ()
    pooled: bool = False

    @property
    def title(self) -> str:
        kept = f", {self.epochs} epochs" if self.epochs else ""
        kept += " as random batches" if self.pooled else ""
        kept += ", views stored" if self.views == "stored" else ""
        return self.form + kept + "".join(f", {key} {value}" for key, value in self.recipe)


COOLING, CALIBRATED = ("cooling", 0.7), ("calibrated", True)
BATCH = ("batch_size", 20)
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
    # LPQLD at these bytes, whole and in parts
    Scheme("fp16", recipe=(COOLING, CALIBRATED)),
    Scheme("int8", 12, recipe=(COOLING,)),
    Scheme("int8", 12, recipe=(CALIBRATED,)),
    Scheme("int8", 12, recipe=(COOLING, CALIBRATED)),
    Scheme("top-k:3", 16, recipe=(COOLING, CALIBRATED)),
    Scheme("top-k:1", 50, recipe=(COOLING, CALIBRATED)),
    # in batches smaller than the set
    Scheme("int8", 12, recipe=(BATCH,)),
    Scheme("int8", 12, recipe=(BATCH,), pooled=True),
)
PLAIN = ("fp16, views stored", "fp16")
BESIDE = (Scheme("fp16"), Scheme("fp16", recipe=(COOLING, CALIBRATED)))  # of random images


class Pooled(TrainingSet):
    """A set with labels of which random batches of all epochs are kept (LPLD)."""

    def __init__(self, distilled: DistilledDataset, protocol: Protocol, kept: int):
        super().__init__(distilled, protocol, torch.device("cpu"))
        pool = list(product(range(self.labels.epochs), range(self.steps)))
        chosen = torch.randperm(len(pool), generator=generator(0, "kept batches"))
        self._pool = [pool[number] for number in chosen[: kept * self.steps]]

    def stacked(self, seeds: Sequence[int], epoch: int) -> training.Batches:
        """Serve an epoch of one training: as many of the batches as an epoch has."""
        drawn = torch.randperm(len(self._pool), generator=generator(seeds[0], "order", epoch))
        for number in drawn[: self.steps]:
            labelled, batch = self._pool[number]
            order = generator(0, "batches of labels", labelled)
            rows = torch.randperm(len(self.images), generator=order)
            rows = rows.split(self.recipe.batch_size)[batch]
            seen, targets = self.labels.batch(self.images, rows, labelled)
            yield self.space.encode(seen).unsqueeze(0), targets.unsqueeze(0)


def stored(artifact: Path, scheme: Scheme) -> Path:
    """Return the set with its labels stored so; converted where that was not done yet."""
    epochs = None if scheme.pooled else scheme.epochs
    name = f"{scheme.form.replace(':', '')}-{epochs or 'all'}-{scheme.views}.safetensors"
    path = artifact.with_name(name)
    if not path.exists():
        wanted = RelabelRequest(form=scheme.form, epochs=epochs, views=scheme.views)
        relabel(artifact, path, wanted, Silent())
    return path


def accuracies(path: Path, config: RunConfig, seeds: int, scheme: Scheme) -> list[float]:
    """Return the test accuracy in percent for each evaluation seed; kept beside the set."""
    about = stable_hash(asdict(scheme)) if scheme.recipe else "soft"
    kept = path.with_suffix(f".{about}.{seeds}.json")
    if not kept.exists():
        run, distilled = prepare(config, path.parent), load(path)
        protocol = protocol_for("soft").with_recipe(**config.protocol | dict(scheme.recipe))
        test, network = open_test(run), config.network
        if scheme.pooled and scheme.epochs:
            data = Pooled(distilled, protocol, scheme.epochs)
            found = [pooled_accuracy(data, distilled, network, s, test) for s in range(seeds)]
        else:
            result = evaluate_with(
                protocol, distilled, test, network, range(seeds), run.device, together=False
            )
            found = list(result.accuracies)
        write_json(kept, found)
    return [100 * accuracy for accuracy in read_json(kept)]


def pooled_accuracy(
    data: Pooled, distilled: DistilledDataset, network: str, seed: int, test: Resident
) -> float:
    """Return the share of test images that a network gets right that was trained on a pool."""
    names, shape = distilled.class_names, distilled.shape
    model = create(network, names, shape, seed, torch.device("cpu"))
    batches = partial(data.batches, seed)
    for _ in training.fit(
        model, batches, data.recipe, steps_per_epoch=data.steps, seed=seed, loss=data.loss
    ):
        pass
    return training.accuracy(model, test.ordered())


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
        for scheme in chosen if title == "Teddy" else BESIDE:
            path = stored(artifact, scheme)
            found = {**size(path), "accuracy": accuracies(path, each, seeds, scheme)}
            if scheme.pooled and scheme.epochs:  # what is kept of them
                found["logits"] = found["logits"] * scheme.epochs // load(path).labels.epochs
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
        f"{config.options['label_epochs']} epochs, trained on with `soft`, "
        "changed as the row says; mean and standard "
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

"""What the benchmarks of accuracy share: runs that are found again, honest evaluations, cells."""

from pathlib import Path
from statistics import fmean, stdev

from ddkit.config import RunConfig
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.evaluation.accuracy import (
    evaluate_with,
    open_test,
    own_protocol_name,
    protocol_for,
    rated,
    tuned,
    tuning_split,
)
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import prepare
from ddkit.run import Run
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.files import read_json, write_json


def distilled(config: RunConfig, runs: Path, *, snapshot_every: int = 0) -> Path:
    """Return the artifact of a run, distilled where `runs` has none of this configuration."""
    folder = runs / stable_hash(config.model_dump(mode="json"))
    return pipeline.distill(config, folder, snapshot_every=snapshot_every)


def accuracy(
    run: Run,
    dataset: DistilledDataset,
    path: Path,
    evaluations: int,
    *,
    protocol: str | None = None,
    tune: bool = False,
    epochs: int | None = None,
    lr: float | None = None,
) -> float:
    """Return the mean test accuracy over evaluation seeds; kept in a file beside the set at `path`.

    At the learned rate where there is one, or with `tune` at the one that is best on a tenth of
    the training data, as `ddkit evaluate` does for random images.
    """
    name = protocol or own_protocol_name(dataset)
    kept = path.with_name(f"{path.stem}-{name}-{epochs}-{lr}-{evaluations}.json")
    if not kept.exists():
        recipe = rated(protocol_for(name), dataset)
        changes = {"epochs": epochs, "lr": lr}
        recipe = recipe.with_recipe(**{k: v for k, v in changes.items() if v is not None})
        network = run.config.network
        if tune:
            recipe = tuned(recipe, dataset, tuning_split(run), network, run.device)
        result = evaluate_with(
            recipe, dataset, open_test(run), network, range(evaluations), run.device
        )
        write_json(kept, result.to_json())
    return float(read_json(kept)["mean"])


def evaluated(
    config: RunConfig,
    runs: Path,
    evaluations: int,
    *,
    protocol: str | None = None,
    tune: bool = False,
    epochs: int | None = None,
    lr: float | None = None,
) -> float:
    """Distil, or find the finished run, and return its mean test accuracy (0 … 1)."""
    path = distilled(config, runs)
    run = prepare(config, path.parent)
    return accuracy(run, load(path), path, evaluations, protocol=protocol, tune=tune, epochs=epochs)


def cell(values: list[float]) -> str:
    """Return "mean ± standard deviation" of values in percent."""
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{fmean(values):.1f}{spread}"

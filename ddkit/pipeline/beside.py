"""What stands beside a distilled set: random real images with its labelling, at its own terms."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ddkit.config import RunConfig
from ddkit.data.formation import packed
from ddkit.distilled.dataset import ARTIFACT, DistilledDataset
from ddkit.distilled.writing import IMPORTED
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation.protocols import Protocol
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import baseline_config
from ddkit.pipeline.stages import Stage
from ddkit.pools import named as named_pool
from ddkit.run import Run
from ddkit.runtime.cache import cache_folder, stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import locked
from ddkit.synthesis.images import Synthetic, stored
from ddkit.synthesis.initial import rows_of_counts


def random_baseline(run: Run, classes: Tensor) -> Path:
    """Return the artifact of random real images with a run's labelling; cached by data and run.

    Args:
        classes: int64 (N,), of the stored images that it stands beside; it has as many of each.
    """
    baseline = baseline_config(run.config)
    counts = classes.bincount(minlength=len(run.classes)).tolist()
    uneven = [] if set(counts) == {run.ipc} else counts
    beside, parts = replace(run, config=baseline, start=None), baseline.factor**2
    try:
        rows = rows_of_counts(beside.decoded, [count * parts for count in counts])
    except DdkitError as error:  # a merged set may have more images than a class has real ones
        raise DdkitError(
            f"no random images to compare with: {error}; or use --no-random"
        ) from error
    pool = named_pool.fingerprint(baseline.pool) if baseline.pool else None
    key = stable_hash([baseline.model_dump(mode="json"), run.train.fingerprint, pool, *uneven])
    folder = cache_folder("baselines") / key
    if not uneven:
        return pipeline.distill(baseline, folder, run.progress, wait=True)
    path = folder / ARTIFACT
    with locked(folder, "the baseline", wait=True):
        if not path.exists():
            pixels = packed(run.train.take(rows).float() / 255, baseline.factor)
            images = stored(pixels, baseline.store)
            synthetic = Synthetic(images, run.train.labels[rows][::parts], factor=baseline.factor)
            stage = Stage(replace(beside, folder=folder), "relabel")
            pipeline.relabel_into(stage, synthetic, path)
    return path


def comparable(config: RunConfig, protocol: Protocol) -> bool:
    """Return whether random images can get the labels that a protocol trains with.

    Who gave an imported set its soft labels is not known here.
    """
    foreign = config.method == IMPORTED and config.relabel_from is None
    return protocol.labels != "own" or not foreign


def recipe_for(
    protocol: Protocol,
    dataset: DistilledDataset,
    distilled: DistilledDataset,
    *,
    tune: bool,
    fixed: bool,
) -> tuple[Protocol, bool]:
    """Return a protocol with a set's own learning rate, and whether it is to be tuned instead.

    A learned rate is a tuned one: where the distilled set brings one, what stands beside it is
    tuned on the holdout, or the comparison would be unfair.

    Args:
        dataset: what is trained on: `distilled` itself, or a baseline.
        tune: whether every set is tuned.
        fixed: whether the rate was said, and holds for all.
    """
    if fixed:
        return protocol, tune
    learned = evaluation.rated(protocol, distilled) != protocol
    return evaluation.rated(protocol, dataset), tune or (learned and dataset is not distilled)

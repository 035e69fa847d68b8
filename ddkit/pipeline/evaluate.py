"""A distilled set beside its baselines: random images under the same recipe, all real data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ddkit.config import RunConfig
from ddkit.data.classes import reordered
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.result import Evaluation
from ddkit.evaluation.training import labels_for
from ddkit.evaluation.units import Evaluations
from ddkit.methods.own import OWN, in_words, own_recipe
from ddkit.methods.plugin import options_of
from ddkit.methods.published import Beside, published_for
from ddkit.networks import parse
from ddkit.pipeline.beside import comparable, random_baseline, recipe_for
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.stages import Stage
from ddkit.run import Run
from ddkit.runtime.arithmetic import usual
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor
from ddkit.runtime.process import settle
from ddkit.runtime.progress import Progress
from ddkit.runtime.settings import validated


@dataclass(frozen=True)
class Row:
    """One line of the comparison; `over_random` is the difference of mean accuracies, or None.

    `recipe` is the protocol with what it does not do as the core's of that name; `published` what a
    paper reports of the same method, recipe and network, where one does.
    """

    title: str
    evaluation: Evaluation
    over_random: float | None = None
    image_bytes: int | None = None
    label_bytes: int | None = None
    recipe: str = ""
    published: Beside | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "set": self.title,
            "over_random": self.over_random,
            "image_bytes": self.image_bytes,
            "label_bytes": self.label_bytes,
            "recipe": self.recipe or self.evaluation.protocol,
            "published": self.published and self.published.to_json(),
            **self.evaluation.to_json(),
        }


def compare(
    path: Path,
    *,
    protocols: Sequence[str] | None,
    networks: Sequence[str] | None,
    seeds: Sequence[int],
    progress: Progress,
    recipe: Mapping[str, Any] | None = None,
    data: str | None = None,
    device: str | None = None,
    precision: Literal["fp32", "tf32"] | None = None,
    random: bool = True,
    real: bool = True,
    tune_lr: bool = False,
    own: bool = False,
    executor: Executor = LOCAL,
) -> list[Row]:
    """Return the rows of a comparison table for the artifact at `path`.

    Args:
        protocols: names; one that needs soft labels is left out for a set without any. "own" is
            the method's own recipe. None for that and `dsa`, which all sets are compared by.
        networks: specs; None for the run's own.
        seeds: evaluation seeds.
        recipe: fields of `Recipe` that replace the protocol's; None values are left out.
        data: where the data lie now, None for where the run found them.
        precision: what networks are trained and tested in; None for the run's own, in which the
            labels of random images are made in any case. Without effect on a CPU.
        random, real: whether the baselines are trained too.
        tune_lr: choose the learning rate of the set, and of random images, on the holdout.
        own: also what the method's hook `evaluate` does, marked as such.
        executor: where networks are trained.

    Raises:
        DdkitError: the data are not those that were distilled, or any name is unknown.
    """
    distilled = load(path)
    config = config_of(distilled, data, device)
    names = protocols or ["dsa", OWN]
    chosen = [protocol_of(name, config, distilled, recipe or {}) for name in names]
    chosen = [p for n, p in enumerate(chosen) if p not in chosen[:n]]
    chosen = [p for p in chosen if p.labels != "own" or distilled.labels.kind != "hard"]
    for protocol in chosen:  # before any is trained
        labels_for(protocol, distilled)
    specs = [named_network(spec) for spec in networks] if networks else [own_network(distilled)]
    if own or (random and distilled.labels.kind != "hard"):  # which may train a pool
        trusted(config.network, specs)
    run, test = opened(distilled, config, path.parent, progress)
    config = run.config  # with classes in the set's order
    baseline = load(random_baseline(run, distilled.stored.classes)) if random else None
    if baseline is not None:
        baseline.space = distilled.space  # an imported set brings its own
    tested = config.model_copy(update={"precision": precision or config.precision})
    settle(run.device, tested.precision)
    if run.device.type == "cuda":
        progress.note(f"networks are trained and tested in {usual(run.device)}")
    evaluations = Evaluations(distilled.file.path, replace(run, config=tested), test, executor)
    fixed = (recipe or {}).get("lr") is not None

    def row(title: str, dataset: DistilledDataset, protocol: Protocol, network: str) -> Row:
        asked, tune = recipe_for(protocol, dataset, distilled, tune=tune_lr, fixed=fixed)
        found = evaluations.of_set(dataset, asked, network, seeds, tune=tune)
        used = found.labels == dataset.labels.kind
        labels = dataset.labels.bytes if used else 0
        title += f", factor {dataset.factor}" if dataset.factor > 1 else ""
        return Row(title, found, None, dataset.image_bytes, labels, in_words(protocol))

    rows = []
    for network in specs:
        for protocol in chosen:
            ours = row(config.method, distilled, protocol, network)
            told = published_for(config, distilled, protocol, network)
            if told is not None:
                ours = replace(ours, published=told.beside(ours.evaluation.accuracies))
            rows.append(ours)
            if baseline is not None and comparable(config, protocol):
                beside = row("random real images", baseline, protocol, network)
                over = ours.evaluation.mean - beside.evaluation.mean
                rows[-1:] = [replace(ours, over_random=over), beside]
        if real:
            protocol = evaluation.protocol_for("dsa")
            found = evaluations.of_real(protocol, network, seeds)
            rows.append(Row(f"all real data, {protocol.real_epochs} epochs", found))
        if own:
            found = own_protocol(run, distilled, network, seeds)
            rows.append(Row(f"{config.method}, own protocol", found))
    return rows


def protocol_of(
    name: str, config: RunConfig, distilled: DistilledDataset, recipe: Mapping[str, Any]
) -> Protocol:
    """Return a protocol with what the user changes of it; "own" is the method's own recipe.

    So is one by name that trains towards the set's own labels, if the method's authors use it.
    """
    own = own_recipe(options_of(config.stage("evaluate")), config.protocol, distilled)
    chosen = own if name == OWN else evaluation.protocol_for(name)
    if chosen.name == own.name and own.labels == "own":
        chosen = own
    return chosen.with_recipe(**{k: v for k, v in recipe.items() if v is not None})


def named_network(spec: str) -> str:
    """Return a spec that a user gave; raises `DdkitError` for an unknown name, before any work."""
    parse(spec)
    return spec


def own_network(distilled: DistilledDataset) -> str:
    """Return the network of the run; a file that an artifact names is not executed unasked."""
    return trusted(str(distilled.metadata["network"]), ())


def trusted(spec: str, named: Sequence[str]) -> str:
    """Return a network that an artifact names; a file only where the user `named` it as well."""
    if parse(spec).path is not None and spec not in named:
        raise DdkitError(
            f"this set was made with a network from a file, {spec}: if you trust that file, "
            "name it yourself (--network or --networks)"
        )
    return spec


def run_of(distilled: DistilledDataset, config: RunConfig, folder: Path, progress: Progress) -> Run:
    """Return the run of an artifact; raises `DdkitError` where the data are others by now.

    Classes that stand in another order in the data are taken in the artifact's, which is said.
    """
    run = prepare(config, folder, progress)
    moved = reordered(distilled.class_names, run.classes)
    if moved:
        progress.note(f"classes of '{config.data.name}' are matched by name, because {moved} there")
        data = config.data.model_copy(update={"classes": tuple(distilled.class_names)})
        run = prepare(config.model_copy(update={"data": data}), folder, progress)
    if run.train.fingerprint != distilled.metadata.get("data_fingerprint"):
        raise DdkitError(
            f"the data '{config.data.name}' are not those that {distilled.file.path} was distilled "
            "from: name the right ones with --data"
        )
    return replace(run, space=distilled.space.to(run.device))  # an imported set brings its own


def opened(
    distilled: DistilledDataset, config: RunConfig, folder: Path, progress: Progress
) -> tuple[Run, Resident]:
    """Return the run of an artifact, and its test split."""
    run = run_of(distilled, config, folder, progress)
    return run, evaluation.open_test(run)


def config_of(distilled: DistilledDataset, data: str | None, device: str | None) -> RunConfig:
    """Return the configuration of the run an artifact came from, for where things are now."""
    values = dict(distilled.config)
    if data is not None:
        values["data"] = {**values["data"], "name": data}
    stored = values["device"].split(":")[0]
    available = stored == "cpu" or torch.cuda.is_available()
    values["device"] = device or (values["device"] if available else "cpu")
    return validated(RunConfig, values, "the artifact's configuration")


def own_protocol(
    run: Run, distilled: DistilledDataset, network: str, seeds: Sequence[int]
) -> Evaluation:
    """Return the evaluation by the method's own hook, marked as its own."""
    stage = Stage(run, "evaluate")
    result = stage.plugin.evaluate(stage.run, distilled, network, seeds)
    return replace(result, own=True)

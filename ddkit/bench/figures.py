"""The figures of a cell: the set, random images and a selection under one recipe."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddkit.bench.cells import Cell, Role, companion, make_cell, run_folder, run_key
from ddkit.bench.config import NONE, OWN, BenchConfig
from ddkit.bench.figure import Figure, Images
from ddkit.bench.notes import note_repeated
from ddkit.bench.store import Store
from ddkit.config import RunConfig
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import ARTIFACT, DistilledDataset, load
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation.protocols import Protocol
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import evaluate as comparison
from ddkit.pipeline.prepare import device_of, prepare
from ddkit.run import Run
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.cost import read_cost
from ddkit.runtime.errors import Busy
from ddkit.runtime.files import locked
from ddkit.runtime.process import settle, usual_precision
from ddkit.runtime.progress import Progress

PLAIN = "plain"
EVALUATION_VERSION = 2  # goes up when the core trains or tests networks differently


class Figures:
    """Makes figures that the store lacks, and the runs that they need."""

    def __init__(self, bench: BenchConfig, folder: Path, store: Store, progress: Progress):
        self.bench = bench
        self.folder = folder
        self.store = store
        self.progress = progress
        self._tests: dict[str, Resident] = {}
        self._runs: dict[str, Run] = {}
        self._wait = True

    def of(self, cell: Cell) -> Iterator[Figure]:
        """Return the figures that a bench asks of a cell."""
        for network in self.bench.networks_for(cell.asked):
            for protocol in self.bench.protocols:
                for role in self.roles():
                    if role == "selection" and protocol == PLAIN:
                        continue  # without augmentation only what ARS compares is trained
                    yield Figure(cell, role, network, protocol, self.bench.recipe)

    def runs(self, cell: Cell) -> list[RunConfig]:
        """Return the runs that distil a cell's images."""
        return [cell.config]

    def roles(self) -> list[Role]:
        """Return what is trained on: the set, and what stands beside it."""
        return ["set", "random"] if self.bench.selection == NONE else ["set", "random", "selection"]

    def complete(self, cell: Cell) -> bool:
        """Return whether all figures of a cell are stored; nothing is loaded for it."""
        real = not self.bench.real or all(
            self._missing(self.real_key(cell, network)) == []
            for network in self.bench.networks_for(cell.asked)
        )
        return real and all(self.is_stored(figure) for figure in self.of(cell))

    def measure(self, cell: Cell) -> None:
        """Make the figures of a cell that the store lacks."""
        self._runs.clear()
        left = [figure for figure in self.of(cell) if not self.is_stored(figure)]
        for wait in (False, True):  # what another process is at comes later: it may be done then
            left = [figure for figure in left if not self._attempt(figure, wait)]
        # last: it is one for all cells, and another process may be at it
        for network in self.bench.networks_for(cell.asked) if self.bench.real else ():
            self._measure_real(cell, network)

    def _attempt(self, figure: Figure, wait: bool) -> bool:
        """Make a figure; return False where another process is at its evaluation, unless `wait`."""
        self._wait = wait
        try:
            self._measure(figure)
        except Busy:
            return False
        return True

    def figure_key(self, figure: Figure) -> str:
        """Return a key of a figure; another selection, or with other settings, is another one."""
        chosen = self._selected(figure.cell).config if figure.role == "selection" else None
        return stable_hash([figure.about(), run_key(chosen) if chosen else None])

    def artifact(self, config: RunConfig, about: dict[str, Any]) -> Path:
        """Return the artifact of a run, made first where it is not there."""
        key = run_key(config)
        folder = run_folder(self.folder, config)
        path = folder / ARTIFACT
        known = self.store.result("set", key)
        if known is not None and path.exists():
            return path
        if known is not None:
            self.progress.note(f"{path} is gone: it is made again")
        pipeline.distill(config, folder, self.progress, wait=True)
        distilled = load(path)
        result = {
            "folder": str(folder.relative_to(self.folder)),
            "labels": distilled.labels.kind,
            "image_bytes": distilled.image_bytes,
            "label_bytes": distilled.labels.bytes,
            "cost": read_cost(folder),
            "config": config.model_dump(mode="json"),
        }
        self.store.put("set", key, about, result)
        return path

    def is_stored(self, figure: Figure) -> bool:
        found = self.store.result("figure", self.figure_key(figure))
        if found is None:
            return False
        return found["evaluation"] is None or not self._missing(found["evaluation"])

    def _missing(self, evaluation_key: str) -> list[int]:
        """Return the evaluation seeds whose accuracy is not stored."""
        done = self.store.accuracies(evaluation_key)
        return [seed for seed in range(self.bench.evaluation_seeds) if seed not in done]

    def _measure(self, figure: Figure) -> None:
        cell = figure.cell
        distilled = load(self.artifact(cell.config, cell.about()))
        protocol = self.protocol(figure.protocol, cell.config, distilled)
        if protocol.labels == "own" and distilled.labels.kind == "hard":
            result: dict[str, Any] = {
                "evaluation": None,
                "runs": [],
            }  # there are no labels for this protocol
            self.store.put("figure", self.figure_key(figure), figure.about(), result)
            return
        config = self._config(figure, labelled=protocol.labels == "own")
        path = self.artifact(config, figure.about())
        key = run_key(config)
        self.evaluate(figure, Images(config, path, key, (key,)), distilled, protocol)

    def _config(self, figure: Figure, *, labelled: bool) -> RunConfig:
        """Return the run whose images a figure trains on."""
        cell = figure.cell
        if figure.role == "set" or self.is_itself(figure):
            return cell.config
        if figure.role == "random":
            return companion(cell.config, labelled=labelled)
        chosen = self._selected(cell)
        init = self.artifact(chosen.config, chosen.about()).resolve()
        return companion(cell.config, labelled=labelled, init=str(init))

    def _selected(self, cell: Cell) -> Cell:
        """Return the selection that stands beside a cell."""
        return make_cell(self.bench, self.bench.selection, cell.asked, cell.ipc, cell.seed, {})

    def is_itself(self, figure: Figure) -> bool:
        """Whether a baseline stands beside itself: it is then the same figure."""
        beside = {"random": "random", "selection": self.bench.selection}.get(figure.role)
        return figure.cell.method == beside

    def protocol(self, name: str, config: RunConfig, distilled: DistilledDataset) -> Protocol:
        name = evaluation.own_protocol_name(distilled) if name == OWN else name
        return comparison.protocol_of(name, config, {"epochs": self.bench.epochs})

    def evaluate(
        self, figure: Figure, images: Images, distilled: DistilledDataset, protocol: Protocol
    ) -> None:
        """Train and test what is not stored yet, then store the figure.

        Args:
            images: what is trained on.
            distilled: the distilled set: a learned rate of its is one that others must tune for.
        """
        same = images.path == distilled.file.path
        dataset = distilled if same else load(images.path)
        recipe, tune = comparison.recipe_for(
            protocol, dataset, distilled, tune=self.bench.tune, fixed=False
        )
        key = stable_hash(
            [EVALUATION_VERSION, images.key, figure.network, recipe.model_dump(), tune]
        )
        with locked(self.folder / "locks" / key, "the evaluation", wait=self._wait):
            self._train(key, figure, images, dataset, recipe, tune)
        self.store.put(
            "figure",
            self.figure_key(figure),
            figure.about(),
            {"evaluation": key, "runs": images.runs},
        )

    def _train(
        self,
        key: str,
        figure: Figure,
        images: Images,
        dataset: DistilledDataset,
        recipe: Protocol,
        tune: bool,
    ) -> None:
        """Train and test a network for each evaluation seed that the store lacks."""
        seeds = self._missing(key)
        if seeds:
            run = self._run(images)
            known = self.store.result("evaluation", key) or {}
            began = time.perf_counter()
            if known:
                recipe = recipe.with_recipe(lr=known["learning_rate"])
            elif tune:
                recipe = evaluation.tuned(
                    recipe, dataset, comparison.tuning_split(run), figure.network, run.device
                )
            tuning = time.perf_counter() - began
            form = self._form(dataset, recipe, figure.network, len(seeds))
            result = evaluation.evaluate_with(
                recipe,
                dataset,
                self._test(run),
                figure.network,
                seeds,
                run.device,
                self.progress,
                together=self.store.result("settled", form),
            )
            self.store.put("settled", form, {}, result.together > 1)
            result = replace(result, seconds=result.seconds + tuning, tuned=tune)
            about = {**figure.cell.about(), "role": figure.role, "tuned": tune}
            self._store(key, known, result, seeds, about)

    def _form(self, dataset: DistilledDataset, recipe: Protocol, network: str, seeds: int) -> str:
        """Return a key of what decides whether seeds train at once: it is measured once a bench.

        Batched training rounds otherwise: a set and its baselines, and a bench that goes on, are
        to be treated alike, whatever a clock says.
        """
        steps = (recipe.name, recipe.recipe.batch_size, recipe.recipe.optimiser)
        about = [network, steps, len(dataset), dataset.labels.kind, seeds, self.bench.precision]
        return stable_hash(["together", *about])

    def _run(self, images: Images) -> Run:
        """Return the prepared run of some images; those of a cell are kept while it is measured."""
        if images.key not in self._runs:
            self._runs[images.key] = prepare(images.config, images.path.parent, self.progress)
        run = self._runs[images.key]
        settle(run.device, run.config.precision, run.config.threads)  # another may have come since
        return run

    def real_key(self, cell: Cell, network: str) -> str:
        """Return the key of the evaluation on all real data, one for all methods and ipc."""
        protocol = evaluation.protocol_for("dsa")
        data = cell.asked.model_dump(mode="json")
        precision = usual_precision(device_of(cell.config), cell.config.precision)
        about = [data, network, protocol.model_dump(), precision]
        return stable_hash([EVALUATION_VERSION, "real", *about])

    def _measure_real(self, cell: Cell, network: str) -> None:
        key = self.real_key(cell, network)
        with locked(self.folder / "locks" / key, "the evaluation", wait=True):
            seeds = self._missing(key)
            if not seeds:
                return
            config = companion(cell.config, labelled=False).model_copy(update={"data": cell.asked})
            run = prepare(config, self.folder, self.progress)
            result = evaluation.evaluate_real(
                evaluation.protocol_for("dsa"), run, self._test(run), network, seeds
            )
            about = {"data": cell.data, "network": network}
            self._store(key, self.store.result("evaluation", key) or {}, result, seeds, about)
            self.store.put("real", key, about, {"evaluation": key})

    def _store(
        self,
        key: str,
        known: dict[str, Any],
        result: evaluation.Evaluation,
        seeds: Sequence[int],
        about: dict[str, Any],
    ) -> None:
        """Store what is the same for all seeds, such as a tuned rate, then the accuracies."""
        figures = {
            name: value
            for name, value in result.to_json().items()
            if name not in ("accuracies", "n", "mean", "std")
        }
        figures["seconds"] += known.get("seconds", 0.0)
        figures["peak_bytes"] = max(figures["peak_bytes"], known.get("peak_bytes", 0))
        self.store.put("evaluation", key, about, figures)
        self.store.add_accuracies(key, dict(zip(seeds, result.accuracies, strict=True)))

    def _test(self, run: Run) -> Resident:
        """Return the test split in the space of a run; the last one is kept."""
        key = stable_hash([run.config.data.model_dump(mode="json"), run.space.fingerprint()])
        if key not in self._tests:
            self._tests = {key: evaluation.open_test(run)}
            note_repeated(self.store, run)
        return self._tests[key]

"""The figures of a cell: the set, random images and a selection under one recipe.

What networks reach is the evaluation's to measure and to keep, seed by seed. A bench says which
images stand beside a set, under which protocols, and notes what came of each figure.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddkit.bench.cells import Cell, Figure, Role, companion, make_cell, run_folder, run_key
from ddkit.bench.config import NONE, BenchConfig
from ddkit.bench.notes import note_repeated
from ddkit.bench.store import Store
from ddkit.config import RunConfig
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import ARTIFACT, DistilledDataset, load
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.result import Evaluation
from ddkit.evaluation.units import VERSION, Evaluations
from ddkit.methods.own import OWN, in_words
from ddkit.methods.published import published_for
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.beside import recipe_for
from ddkit.pipeline.evaluate import protocol_of
from ddkit.pipeline.prepare import device_of, prepare
from ddkit.run import Run
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.cost import read_cost
from ddkit.runtime.errors import Busy
from ddkit.runtime.process import settle, usual_precision
from ddkit.runtime.progress import Progress

PLAIN = "plain"
OWN_RECIPE = "own_recipe"


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

    def real_networks(self, cell: Cell) -> Sequence[str]:
        """Return what is trained on all real data beside a cell."""
        return self.bench.networks_for(cell.asked) if self.bench.real else ()

    def runs(self, cell: Cell) -> list[RunConfig]:
        """Return the runs that distil a cell's images."""
        return [cell.config]

    def roles(self) -> list[Role]:
        """Return what is trained on: the set, and what stands beside it."""
        return ["set", "random"] if self.bench.selection == NONE else ["set", "random", "selection"]

    def complete(self, cell: Cell) -> bool:
        """Return whether all figures of a cell are stored; nothing is loaded for it."""
        return all(map(self.is_stored, self.of(cell))) and all(
            self._is_known("real", self.real_key(cell, network))
            for network in self.real_networks(cell)
        )

    def measure(self, cell: Cell) -> None:
        """Make the figures of a cell that the store lacks."""
        self._runs.clear()
        for self._wait in (False, True):  # what another process is at comes last: done by then
            for figure in self.of(cell):
                try:
                    if not self.is_stored(figure):
                        self._measure(figure)
                except Busy:
                    if self._wait:
                        raise
        # last: it is one for all cells, and another process may be at it
        for network in self.real_networks(cell):
            self._measure_real(cell, network)

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
        """Return whether the store has a figure, of as many networks as the bench asks for."""
        key = self.figure_key(figure)
        result = self.store.result("figure", key)
        if figure.protocol == OWN and result and result["evaluation"] and OWN_RECIPE not in result:
            return False  # of when methods did not say what theirs is
        return self._is_known("figure", key)

    def _is_known(self, kind: str, key: str) -> bool:
        result = self.store.result(kind, key)
        known = result and result["evaluation"]
        if not isinstance(known, dict):  # no labels for the protocol, or that of an earlier ddkit
            return result is not None and known is None
        enough = len(known["accuracies"]) >= self.bench.evaluation_seeds
        return enough and known["version"] == VERSION

    def _keep(
        self,
        kind: str,
        key: str,
        about: dict[str, Any],
        found: Evaluation | None,
        runs: Sequence[str] = (),
        **more: Any,
    ) -> None:
        """Store what came of a figure; None where there are no labels for its protocol."""
        reached = found and {**found.to_json(), "version": VERSION}
        self.store.put(kind, key, about, {"evaluation": reached, "runs": runs, **more})

    def _measure(self, figure: Figure) -> None:
        cell = figure.cell
        distilled = load(self.artifact(cell.config, cell.about()))
        protocol = self.protocol(figure.protocol, cell.config, distilled)
        if protocol.labels == "own" and distilled.labels.kind in ("hard", "targets"):
            self._keep("figure", self.figure_key(figure), figure.about(), None)
            return
        config = self._config(figure, labelled=protocol.labels == "own")
        path = self.artifact(config, figure.about())
        self.evaluate(figure, config, path, [run_key(config)], distilled, protocol)

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
        return make_cell(
            self.bench, self.bench.selection, cell.asked, cell.ipc, cell.seed, {}, cell.factor
        )

    def is_itself(self, figure: Figure) -> bool:
        """Whether a baseline stands beside itself: it is then the same figure."""
        beside = {"random": "random", "selection": self.bench.selection}.get(figure.role)
        return figure.cell.method == beside

    def protocol(self, name: str, config: RunConfig, distilled: DistilledDataset) -> Protocol:
        return protocol_of(name, config, distilled, {"epochs": self.bench.epochs})

    def evaluate(
        self,
        figure: Figure,
        config: RunConfig,
        path: Path,
        runs: Sequence[str],
        distilled: DistilledDataset,
        protocol: Protocol,
    ) -> None:
        """Train and test what is not done yet, and store the figure.

        Args:
            config: the run of what is trained on, for the data, the space and the device.
            path: its artifact.
            runs: the keys of the runs that made it, for their cost.
            distilled: the distilled set: a learned rate of its is one that others must tune for.
        """
        dataset = distilled if path == distilled.file.path else load(path)
        recipe, tune = recipe_for(protocol, dataset, distilled, tune=self.bench.tune, fixed=False)
        found = self._evaluations(config, path, self._wait).of_set(
            dataset, recipe, figure.network, range(self.bench.evaluation_seeds), tune=tune
        )
        more = self._said(figure, distilled, protocol)
        self._keep("figure", self.figure_key(figure), figure.about(), found, runs, **more)

    def _said(
        self, figure: Figure, distilled: DistilledDataset, protocol: Protocol
    ) -> dict[str, Any]:
        """Return what a report says of a figure that its numbers do not tell."""
        config, told = figure.cell.config, None
        if figure.role == "set" and not self.bench.tune:
            told = published_for(config, distilled, protocol, figure.network)
        own = ""
        if figure.protocol == OWN:
            own = in_words(protocol_of(OWN, config, distilled, {}))
        more = {"factor": config.factor} if config.factor > 1 else {}
        return {OWN_RECIPE: own, "published": told and told.to_json(), **more}

    def real_key(self, cell: Cell, network: str) -> str:
        """Return the key of the figure on all real data, one for all methods and ipc."""
        protocol = evaluation.protocol_for("dsa")
        data = cell.asked.model_dump(mode="json")
        precision = usual_precision(device_of(cell.config), cell.config.precision)
        return stable_hash(["real", data, network, protocol.model_dump(), precision])

    def _measure_real(self, cell: Cell, network: str) -> None:
        key = self.real_key(cell, network)
        if self._is_known("real", key):
            return
        config = companion(cell.config, labelled=False).model_copy(update={"data": cell.asked})
        found = self._evaluations(config, self.artifact(cell.config, cell.about())).of_real(
            evaluation.protocol_for("dsa"), network, range(self.bench.evaluation_seeds)
        )
        self._keep("real", key, {"data": cell.data, "network": network}, found)

    def _evaluations(self, config: RunConfig, path: Path, wait: bool = True) -> Evaluations:
        """Return evaluations in a run; runs are kept while a cell is measured, one test split."""
        key = run_key(config)
        if key not in self._runs:
            self._runs[key] = prepare(config, path.parent, self.progress)
        run = self._runs[key]
        settle(run.device, config.precision, config.threads)  # another may have come since
        seen = stable_hash([config.data.model_dump(mode="json"), run.space.fingerprint()])
        if seen not in self._tests:
            self._tests = {seen: evaluation.open_test(run)}
            note_repeated(self.store, run)
        return Evaluations(path, run, self._tests[seen], wait=wait)

"""What a bench will take, cell by cell, before anything is done: time, memory and disk."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ddkit.bench.cells import Cell, Figure, cells, run_key, steps_option
from ddkit.bench.config import BenchConfig
from ddkit.bench.figures import Figures
from ddkit.bench.harness import figures_of, settled_paces
from ddkit.bench.store import NAME, Store
from ddkit.config import RunConfig, StageName
from ddkit.data.access import keeping_splits, sealed_test
from ddkit.data.loading.batching import batch_count
from ddkit.data.sources import load as sources
from ddkit.distilled.dataset import ARTIFACT, load
from ddkit.distilled.writing import write_distilled
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation.training import train_on
from ddkit.labels import HardLabels
from ddkit.methods.own import OWN, planned_recipe
from ddkit.methods.plugin import options_of
from ddkit.pipeline.estimate import Data, Estimate
from ddkit.pipeline.prepare import describe, prepare
from ddkit.pipeline.rehearse import Rehearsal, rehearse
from ddkit.pipeline.stages import Stages
from ddkit.runtime.progress import Progress, Silent

TIMED_EPOCHS = 5


@dataclass(frozen=True)
class Forecast:
    """What one cell will still take; all zero where it is done.

    Attributes:
        figures: evaluations that are missing.
        pool_seconds: zero where an earlier cell, or an earlier run, trains the pool.
    """

    cell: Cell
    figures: int
    pool_seconds: float
    synthesis_seconds: float
    evaluation_seconds: float
    peak_bytes: int
    disk_bytes: int

    @property
    def seconds(self) -> float:
        return self.pool_seconds + self.synthesis_seconds + self.evaluation_seconds


class Forecaster:
    """Rehearses each kind of cell once; nothing is written but what is thrown away."""

    def __init__(self, bench: BenchConfig, folder: Path):
        self.bench = bench
        self.folder = folder
        self._estimates: dict[str, Estimate] = {}
        self._epochs: dict[tuple[str, int, str], float] = {}
        self._pools: set[Path] = set()

    def forecasts(self, progress: Progress | None = None) -> Iterator[Forecast]:
        """Return the forecast of every cell, in the order in which they are done."""
        scratch_folder = TemporaryDirectory(prefix="ddkit-forecast-")
        with keeping_splits(), sealed_test(), scratch_folder as scratch:
            begun = (self.folder / NAME).exists()
            known = self.folder if begun else Path(scratch)
            store = Store(known, create=not begun)
            figures = figures_of(self.bench, known, store, Silent())
            wanted = cells(self.bench, settled_paces(self.bench, store))
            with (progress or Silent()).task("rehearsals", len(wanted)) as bar:
                for cell in wanted:
                    yield self._forecast(cell, figures)
                    bar.advance()

    def _forecast(self, cell: Cell, figures: Figures) -> Forecast:
        missing = [f for f in figures.of(cell) if not figures.is_stored(f)]
        if not missing:
            return Forecast(cell, 0, 0.0, 0.0, 0.0, 0, 0)
        data = Data.of(sources.load(cell.asked, "train", seed=0))
        seconds = sum(
            self._epoch_seconds(cell, data, figure.network)
            * self._epochs_of(figure, cell.ipc * data.classes)
            for figure in missing
        )
        left = [
            config
            for config in figures.runs(cell)
            if figures.store.result("set", run_key(config)) is None
        ]
        estimates = [self._estimate(config) for config in left]
        pools = [e for c, e in zip(left, estimates, strict=True) if self._needs_pool(c)]
        return Forecast(
            cell,
            len(missing),
            sum(e.pool_seconds for e in pools),
            sum(self._synthesis_seconds(c, e) for c, e in zip(left, estimates, strict=True)),
            seconds * self.bench.evaluation_seeds,
            max((e.peak_bytes for e in estimates), default=0),
            sum(e.image_bytes + e.label_bytes for e in estimates)
            + sum(e.pool_bytes for e in pools),
        )

    def _estimate(self, config: RunConfig) -> Estimate:
        """Rehearse a run, once for all seeds, and for all parts with as many classes."""
        data = Data.of(sources.load(config.data, "train", seed=0))
        alike = {"seed": 0, "data": config.data.model_copy(update={"classes": None})}
        key = f"{run_key(config.model_copy(update=alike))} {data.classes}"
        if key not in self._estimates:
            self._estimates[key] = rehearse(config, data)
        return self._estimates[key]

    def _synthesis_seconds(self, config: RunConfig, estimate: Estimate) -> float:
        minutes = self.bench.budget_minutes
        if minutes is None or steps_option(config) is None:
            return estimate.synthesis_seconds + estimate.relabel_seconds
        return 60 * minutes + estimate.relabel_seconds

    def _needs_pool(self, config: RunConfig) -> bool:
        """Whether a run trains pools that neither the cache has nor an earlier cell trains."""
        stages = Stages(prepare(config, self.folder))
        names: tuple[StageName, ...] = ("synthesis", "relabel")
        untrained = {
            stages[name].plan.folder for name in names if stages[name].finished_pool() is None
        } - self._pools
        self._pools |= untrained
        return bool(untrained)

    def _epochs_of(self, figure: Figure, images: int) -> int:
        """Return the epochs that a figure's networks are trained for on so many images."""
        if self.bench.epochs:
            return self.bench.epochs
        if figure.protocol == OWN:
            config = figure.cell.config
            recipe = planned_recipe(options_of(config.stage("evaluate")), config.protocol)
        else:
            recipe = evaluation.protocol_for(figure.protocol).recipe
        return recipe.for_set(images, batch_count(images, recipe.batch_size)).epochs

    def _epoch_seconds(self, cell: Cell, data: Data, network: str) -> float:
        """Measure an epoch of a training on as many images as the cell has."""
        key = (cell.data, cell.ipc, network)
        if key not in self._epochs:
            with TemporaryDirectory(prefix="ddkit-forecast-") as folder:
                rehearsal = Rehearsal(cell.config, data, Path(folder))
                images = rehearsal.images()
                path = Path(folder) / ARTIFACT
                labels = HardLabels(images.classes)
                run = rehearsal.run
                write_distilled(path, images, labels, run.space, describe(run))
                protocol = evaluation.protocol_for("dsa").with_recipe(epochs=TIMED_EPOCHS)
                train_on(load(path), protocol, network, 0, run.device)  # the first one warms up
                began = time.perf_counter()
                train_on(load(path), protocol, network, 0, run.device)
                self._epochs[key] = (time.perf_counter() - began) / TIMED_EPOCHS
        return self._epochs[key]

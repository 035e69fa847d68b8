"""Continual learning: classes come in steps, only the distilled images of earlier ones are kept.

GDumb (Prabhu et al., ECCV 2020), as Teddy, section 4.6, and DM use it: after each step a network is
trained from scratch on the images of all classes seen so far, and tested on these classes. Each
step's images are distilled from its own classes alone, so that labels are hard: what was trained on
two classes knows nothing of the others.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ddkit.bench.cells import Cell, Figure, companion, make_cell, run_key
from ddkit.bench.figures import Figures
from ddkit.config import RunConfig, StageConfig
from ddkit.data.sources import load as sources
from ddkit.distilled.dataset import ARTIFACT, DistilledDataset, load
from ddkit.distilled.writing import write_distilled
from ddkit.labels import HardLabels
from ddkit.pipeline.prepare import describe, prepare
from ddkit.run import Run
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import locked
from ddkit.runtime.seeds import generator
from ddkit.synthesis.images import Synthetic, stored

STEPS = 5
PROTOCOL = "dsa"


class ContinualFigures(Figures):
    """Figures of each step: `recipe` says how many classes were seen."""

    def of(self, cell: Cell) -> Iterator[Figure]:
        parts = class_steps(self._class_names(cell), cell.seed)
        for network in self.bench.networks_for(cell.asked):
            for step in range(1, len(parts) + 1):
                for role in self.roles():
                    yield Figure(cell, role, network, PROTOCOL, self._recipe(parts, step), step)

    def real_networks(self, cell: Cell) -> Sequence[str]:
        return ()  # all classes are seen at the end alone

    def runs(self, cell: Cell) -> list[RunConfig]:
        parts = class_steps(self._class_names(cell), cell.seed)
        return [_with_classes(cell.config, part) for part in parts]

    def _measure(self, figure: Figure) -> None:
        cell = figure.cell
        parts = class_steps(self._class_names(cell), cell.seed)[: figure.step]
        _, path, _ = self._union(figure, self.runs(cell)[: figure.step])
        beside = self._union(figure, [self._part(figure, part) for part in parts])
        ours = load(path)
        self.evaluate(figure, *beside, ours, self.protocol(PROTOCOL, cell.config, ours))

    def _union(
        self, figure: Figure, configs: Sequence[RunConfig]
    ) -> tuple[RunConfig, Path, list[str]]:
        """Return the run, the artifact and the runs' keys of all steps' images so far, as one."""
        keys = [run_key(config) for config in configs]
        seen = [name for config in configs for name in config.data.classes or ()]
        whole = _with_classes(companion(figure.cell.config, labelled=False), seen)
        key = stable_hash([keys, run_key(whole)])  # chosen images serve several input spaces
        path = self.folder / "runs" / f"classes-{key[:8]}" / ARTIFACT
        with locked(path.parent, "the set of a step", wait=True):
            if not path.exists():
                sets = [load(self.artifact(config, figure.about())) for config in configs]
                write_union(sets, path, prepare(whole, path.parent, self.progress))
        return whole, path, keys

    def _part(self, figure: Figure, part: Sequence[str]) -> RunConfig:
        """Return the run that distils, draws or selects the images of one step's classes."""
        cell = figure.cell
        config = _with_classes(cell.config, part)
        if figure.role == "set" or self.is_itself(figure):
            return config
        if figure.role == "random":
            return companion(config, labelled=False)
        chosen = make_cell(
            self.bench, self.bench.selection, cell.asked, cell.ipc, cell.seed, {}, cell.factor
        )
        return _with_classes(chosen.config, part)

    def _class_names(self, cell: Cell) -> tuple[str, ...]:
        return sources.load(cell.asked, "train", seed=0).classes

    def _recipe(self, parts: Sequence[Sequence[str]], step: int) -> str:
        seen, total = sum(map(len, parts[:step])), sum(map(len, parts))
        return ", ".join(filter(None, [f"{seen} of {total} classes seen", self.bench.recipe]))


def class_steps(names: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Return the classes of each of the steps, in an order that follows from the seed.

    Raises `DdkitError` where steps would have fewer than two classes.
    """
    if len(names) < 2 * STEPS:
        raise DdkitError(
            f"--task continual has {STEPS} steps of two classes at least, and the data have "
            f"{len(names)} classes: name a set with more"
        )
    order = torch.randperm(len(names), generator=generator(seed, "class order")).tolist()
    parts = torch.tensor_split(torch.tensor(order), STEPS)
    return [tuple(names[index] for index in part.tolist()) for part in parts]


def write_union(sets: Sequence[DistilledDataset], path: Path, run: Run) -> None:
    """Write sets of different classes as one with hard labels, in the order of the run's classes.

    Networks see them in the run's input space: that of the real data of all its classes.
    """
    images = torch.cat([part.stored.pixels(torch.arange(len(part.stored))) for part in sets])
    first = 0
    classes = []
    for part in sets:
        classes.append(part.stored.classes + first)
        first += len(part.class_names)
    found = torch.cat(classes)
    synthetic = Synthetic(stored(images, run.config.store), found, factor=sets[0].factor)
    labels = HardLabels(synthetic.decoded().classes)
    write_distilled(path, synthetic, labels, run.space, describe(run))


def _with_classes(config: RunConfig, classes: Sequence[str]) -> RunConfig:
    data = config.data.model_copy(update={"classes": tuple(classes)})
    hard = StageConfig(plugin="random")
    return config.model_copy(update={"data": data, "relabel_from": hard})

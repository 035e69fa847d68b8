"""Evaluations in units of some seeds: each is kept when it is done, here or on other machines.

A comparison that was stopped goes on, one more seed trains one more network, and what
`ddkit evaluate` trained `ddkit bench` does not train again. Whatever a figure follows from is in
its key: the set by its content, so that one that was moved, or made again alike, is known.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from ddkit import networks
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import DistilledDataset
from ddkit.evaluation.accuracy import evaluate_real, evaluate_with, tuned, tuning_split
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.result import Evaluation
from ddkit.evaluation.training import at_once
from ddkit.run import Run
from ddkit.runtime.cache import by_content, cache_folder, settled, stable_hash
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor, Unit
from ddkit.runtime.files import locked, read_json, write_json
from ddkit.runtime.process import usual_precision
from ddkit.runtime.progress import Task
from ddkit.runtime.shortage import KEPT, enough_memory

VERSION = 3  # goes up when the core trains or tests differently, or keys say something else


@dataclass(frozen=True)
class Evaluations:
    """Trains networks on sets, and on real data, and keeps what they reach.

    Attributes:
        artifact: the distilled set whose run this is; other sets are seen in its input space.
        run, test: its run, and the test split.
        executor: where units are done.
        wait: for another process that is at the same evaluation; else that raises `Busy`.
    """

    artifact: Path
    run: Run
    test: Resident
    executor: Executor = LOCAL
    wait: bool = True

    def of_set(
        self,
        dataset: DistilledDataset,
        protocol: Protocol,
        network: str,
        seeds: Sequence[int],
        *,
        tune: bool = False,
    ) -> Evaluation:
        """Return how well networks train on a set, one for each seed.

        Args:
            tune: choose the learning rate on the holdout first. It is kept for later seeds, and
                the seconds that it took are counted.
        """
        with self._held(self._file(dataset, protocol, network, tune)):
            spent = 0.0
            if tune:
                protocol, spent = self._tuned(dataset, protocol, network)
            form = [
                protocol.model_dump(),
                network,
                len(dataset),
                dataset.shape,
                dataset.labels.kind,
                len(seeds),
                *self._computing,
            ]
            size = settled(
                cache_folder("evaluations"),
                f"together {stable_hash(form)}",
                lambda: at_once(dataset, protocol, network, seeds, self.run.device),
            )
            found = self._all(dataset, protocol, network, seeds, size)
        return replace(found, seconds=found.seconds + spent, tuned=tune)

    def of_real(self, protocol: Protocol, network: str, seeds: Sequence[int]) -> Evaluation:
        """Return how well networks train on all real data, one for each seed."""
        with self._held(self._file(None, protocol, network)):
            return self._all(None, protocol, network, seeds, 1)

    @property
    def _computing(self) -> list[Any]:
        """What networks are trained and tested on, and in: a figure of one is none of another."""
        device, config = self.run.device, self.run.config
        return [str(device), config.threads, usual_precision(device, config.precision)]

    def _file(
        self, dataset: DistilledDataset | None, protocol: Protocol, network: str, *more: Any
    ) -> Path:
        """Return the file that keeps what follows from all this, and from the data."""
        key = [
            VERSION,
            content(dataset) if dataset else None,
            protocol.model_dump(),
            networks.spec_fingerprint(network),
            self.run.train.fingerprint,
            self.test.split.fingerprint,
            self.run.space.fingerprint(),
            *self._computing,
            torch.__version__,
            *more,
        ]
        return cache_folder("evaluations") / f"{stable_hash(key)}.json"

    def _held(self, path: Path) -> AbstractContextManager[None]:
        """Keep other processes from an evaluation, of whatever seeds."""
        return locked(path.parent / "locks" / path.stem, "the evaluation", self.wait)

    def _tuned(
        self, dataset: DistilledDataset, protocol: Protocol, network: str
    ) -> tuple[Protocol, float]:
        """Return the protocol at the rate that the holdout chose, and the seconds that took."""
        run = self.run
        path = self._file(dataset, protocol, network, "rate", run.config.seed)
        if not path.exists():
            began = time.perf_counter()
            rate = tuned(protocol, dataset, tuning_split(run), network, run.device).recipe.lr
            write_json(path, {"rate": rate, "seconds": time.perf_counter() - began})
        found = read_json(path)
        return protocol.with_recipe(lr=found["rate"]), found["seconds"]

    def _all(
        self,
        dataset: DistilledDataset | None,
        protocol: Protocol,
        network: str,
        seeds: Sequence[int],
        size: int,
    ) -> Evaluation:
        """Do the units that are not done yet, and return all seeds' figures as one."""
        run, together = self.run, size > 1
        files = {
            group: self._file(dataset, protocol, network, together, group)
            for group in groups(seeds, size)
        }

        def here(group: tuple[int, ...], bar: Task) -> None:
            found = trained(run, self.test, dataset, protocol, network, group, together)
            write_json(files[group], asdict(found))
            bar.advance()

        units = [
            Unit(str(group[0]), partial(here, group), {"seeds": group, "out": str(path.absolute())})
            for group, path in files.items()
            if not path.exists()
        ]
        job = run.job(
            f"{protocol.name} on {network}",
            "ddkit.pipeline.work:evaluate_seeds",
            artifact=str(self.artifact.absolute()),
            dataset=str(dataset.file.path.absolute()) if dataset else None,
            protocol=protocol.model_dump(mode="json"),
            network=network,
            together=together,
        )
        with enough_memory_to_evaluate(run):
            self.executor.run(job, units, run.progress, len(files) - len(units))
        return joined([of_json(read_json(path)) for path in files.values()])


def trained(
    run: Run,
    test: Resident,
    dataset: DistilledDataset | None,
    protocol: Protocol,
    network: str,
    seeds: Sequence[int],
    together: bool,
) -> Evaluation:
    """Do one unit: train a network for each seed on a set, or on all real data, and test it."""
    if dataset is None:
        return evaluate_real(protocol, run, test, network, seeds)
    return evaluate_with(
        protocol, dataset, test, network, seeds, run.device, run.progress, together=together
    )


def enough_memory_to_evaluate(run: Run) -> AbstractContextManager[None]:
    """Return a block that says in one line where memory runs out."""
    ways = ["a smaller --batch-size", "a smaller network"]
    return enough_memory("the evaluation", run.device, lambda taken: ways, KEPT)


def groups(seeds: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """Yield the seeds in groups of `size`."""
    for first in range(0, len(seeds), size):
        yield tuple(seeds[first : first + size])


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Return the figures of all seeds: accuracies in order, seconds added, the highest memory."""
    return replace(
        parts[0],
        accuracies=tuple(accuracy for part in parts for accuracy in part.accuracies),
        seconds=sum(part.seconds for part in parts),
        together=max(part.together for part in parts),
        peak_bytes=max(part.peak_bytes for part in parts),
    )


def of_json(values: dict[str, Any]) -> Evaluation:
    """Return what a unit wrote."""
    return Evaluation(**{**values, "accuracies": tuple(values["accuracies"])})


def content(dataset: DistilledDataset) -> str:
    """Return a hash of a set's files; they are read once in a process, unless they change."""
    path = dataset.file.path
    names = [path, *(path.with_name(Path(n).name) for n in dataset.metadata.get("image_files", []))]
    stats = [(name, name.stat()) for name in names]
    return stable_hash([_hashed(str(n), found.st_size, found.st_mtime_ns) for n, found in stats])


@cache
def _hashed(path: str, size: int, modified: int) -> Any:
    return by_content(str(Path(path).absolute()))

"""Evaluations in units of some seeds: each is kept when it is done, here or on other machines.

A comparison that was stopped goes on, and one more seed trains one more network.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ddkit import networks
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import DistilledDataset
from ddkit.evaluation.accuracy import Evaluation, evaluate_real, evaluate_with
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.training import at_once
from ddkit.run import Run
from ddkit.runtime.arithmetic import Precision
from ddkit.runtime.cache import cache_folder, settled, stable_hash
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor, Unit
from ddkit.runtime.files import read_json, write_json
from ddkit.runtime.process import usual_precision
from ddkit.runtime.progress import Task
from ddkit.runtime.shortage import KEPT, enough_memory

VERSION = 2  # goes up when the core trains or tests differently


@dataclass(frozen=True)
class Evaluations:
    """Trains networks on sets, and on real data, and keeps what they reach.

    Attributes:
        artifact: the distilled set whose run this is; other sets are seen in its input space.
        run, test: its run, and the test split.
        executor: where units are done.
    """

    artifact: Path
    run: Run
    test: Resident
    executor: Executor = LOCAL

    @property
    def precision(self) -> Precision:
        """What networks are trained and tested in: a figure of one is none of another."""
        return usual_precision(self.run.device, self.run.config.precision)

    def of_set(
        self, dataset: DistilledDataset, protocol: Protocol, network: str, seeds: Sequence[int]
    ) -> Evaluation:
        """Return how well networks train on a set, one for each seed."""
        form = stable_hash(
            [
                protocol.model_dump(),
                network,
                len(dataset),
                dataset.shape,
                dataset.labels.kind,
                len(seeds),
                str(self.run.device),
                self.run.config.threads,
                self.precision,
            ]
        )
        size = settled(
            cache_folder("evaluations"),
            f"together {form}",
            lambda: at_once(dataset, protocol, network, seeds, self.run.device),
        )
        about = {"dataset": str(dataset.file.path.absolute()), "together": size > 1}
        return self._all(about, stamp(dataset), dataset, protocol, network, seeds, size)

    def of_real(self, protocol: Protocol, network: str, seeds: Sequence[int]) -> Evaluation:
        """Return how well networks train on all real data, one for each seed."""
        return self._all({"dataset": None, "together": False}, [], None, protocol, network, seeds)

    def _all(
        self,
        about: dict[str, Any],
        content: Any,
        dataset: DistilledDataset | None,
        protocol: Protocol,
        network: str,
        seeds: Sequence[int],
        size: int = 1,
    ) -> Evaluation:
        """Do the units that are not done yet, and return all seeds' figures as one."""
        run = self.run
        common = {
            **about,
            "artifact": str(self.artifact.absolute()),
            "network": network,
            "protocol": protocol.model_dump(mode="json"),
        }
        key = [
            VERSION,
            content,
            common,
            networks.spec_fingerprint(network),
            run.train.fingerprint,
            self.test.split.fingerprint,
            run.space.fingerprint(),
            str(run.device),
            run.config.threads,
            self.precision,
            torch.__version__,
        ]
        files = {
            group: cache_folder("evaluations") / f"{stable_hash([key, group])}.json"
            for group in groups(seeds, size)
        }

        def here(group: tuple[int, ...], bar: Task) -> None:
            found = trained(run, self.test, dataset, protocol, network, group, about["together"])
            write_json(files[group], asdict(found))
            bar.advance()

        units = [
            Unit(str(group[0]), partial(here, group), {"seeds": group, "out": str(path.absolute())})
            for group, path in files.items()
            if not path.exists()
        ]
        title = f"{protocol.name} on {network}"
        job = run.job(title, "ddkit.pipeline.work:evaluate_seeds", **common)
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


def stamp(dataset: DistilledDataset) -> list[Any]:
    """Return what changes when a set's files do, without reading them."""
    path = dataset.file.path
    names = [path, *(path.with_name(Path(n).name) for n in dataset.metadata.get("image_files", []))]
    return [[name.stat().st_size, name.stat().st_mtime_ns] for name in names]

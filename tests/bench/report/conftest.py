"""Stores filled by hand: figures are given, nothing is trained."""

import shutil
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from ddkit.bench.store import Store
from ddkit.config import RunConfig
from ddkit.data.space import InputSpace
from ddkit.distilled.dataset import ARTIFACT
from ddkit.distilled.writing import write_distilled
from ddkit.evaluation.units import VERSION
from ddkit.labels import HardLabels
from ddkit.runtime.tensors import write_tensors
from ddkit.synthesis.images import Synthetic

CLASSES = ("cat", "dog", "</script><b>owl")
Accuracies = Sequence[Sequence[float]]
"""By distillation seed, over evaluation seeds."""


class Filler:
    """Fills a store with figures as a bench does."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = Store(folder)
        self.count = 0

    def bench(self, **about: Any) -> None:
        self.store.put("bench", "b", about, {"ddkit": "0.1.0", "torch": "2.11"})

    def run(self, method: str, ipc: int, seed: int, data: str = "digits", **cost: float) -> str:
        """Store a run without its files; return its key."""
        key = f"{method}-{data}-{ipc}-{seed}"
        config = RunConfig.model_validate(
            {"method": method, "plugin": "random", "ipc": ipc, "seed": seed, "data": {"name": data}}
        )
        result = {
            "folder": f"runs/run-{self.count}",
            "labels": "hard",
            "image_bytes": 640 * ipc,
            "label_bytes": 0,
            "cost": {
                "device": "cpu",
                "synthesis_seconds": 4.0,
                "relabel_seconds": 0.0,
                "pool_training_seconds": 0.0,
                "synthesis_peak_bytes": 5_000_000,
            }
            | cost,
            "config": config.model_dump(mode="json"),
        }
        self.count += 1
        self.store.put(
            "set", key, {"method": method, "data": data, "ipc": ipc, "seed": seed}, result
        )
        return key

    def images(
        self, run: str, size: int = 8, each: int = 2, names: Sequence[str] = CLASSES
    ) -> Path:
        """Write the artifact of a run, and where its images started; return the artifact."""
        stored = self.store.result("set", run)
        folder = self.folder / stored["folder"]
        classes = torch.arange(len(names)).repeat_interleave(each)
        final = torch.rand(
            (len(classes), 1, size, size), generator=torch.Generator().manual_seed(0)
        )
        write_distilled(
            folder / ARTIFACT,
            Synthetic(final.mul(255).to(torch.uint8), classes),
            HardLabels(classes),
            InputSpace(torch.tensor([0.5]), torch.tensor([0.3])),
            {
                "classes": list(names),
                "config": stored["config"],
                "data_fingerprint": "d",
                "mirror": False,
                "network": "convnet",
            },
        )
        slots = torch.arange(len(classes))
        write_tensors(
            folder / "shards" / "shard-00000.safetensors", {"slots": slots, "initial": 1 - final}
        )
        return folder / ARTIFACT

    def figure(
        self,
        method: str,
        accuracies: Accuracies,
        *,
        role: str = "set",
        ipc: int = 1,
        network: str = "convnet",
        protocol: str = "dsa",
        recipe: str = "",
        data: str = "digits",
        tuned: bool = False,
        learned_on: str | None = None,
        runs: bool = True,
        **cost: float,
    ) -> None:
        """Store what networks reached on the sets of a method, or on what stands beside them."""
        for seed, found in enumerate(accuracies):
            run = f"{method}-{data}-{ipc}-{seed}"
            if runs and role == "set" and self.store.get("set", run) is None:
                self.run(method, ipc, seed, data, **cost)
            about = {"method": method, "data": data, "ipc": ipc, "seed": seed}
            key = f"{run} {role} {network} {protocol} {recipe}"
            about |= {
                "run": run,
                "role": role,
                "recipe": recipe,
                "settings": f"{method}-settings",
                "network": network,
                "protocol": protocol,
            }
            note = "" if tuned or learned_on is None else f"learned on {learned_on}"
            rate = {"tuned": tuned, "learned_on": learned_on, "note": note}
            reached = {**reaching(found), "labels": "hard", **rate}
            self.store.put("figure", key, about, {"evaluation": reached, "runs": [run]})

    def real(self, accuracies: Sequence[float], network: str = "convnet") -> None:
        key = f"real {network}"
        about = {"data": "digits", "network": network}
        self.store.put("real", key, about, {"evaluation": reaching(accuracies), "runs": []})

    def fail(self, method: str, error: str) -> None:
        about = {"method": method, "data": "digits", "ipc": 1, "seed": 0}
        self.store.fail("cell", f"{method} failed", about, error)


def reaching(accuracies: Sequence[float]) -> dict[str, Any]:
    """Return an evaluation as a bench stores it."""
    return {
        "accuracies": list(accuracies),
        "device": "cpu",
        "learning_rate": 0.01,
        "seconds": 3.0,
        "peak_bytes": 1_500_000,
        "version": VERSION,
    }


@pytest.fixture
def filler(tmp_path) -> Filler:
    """Return what fills an empty store."""
    return Filler(tmp_path / "bench")


@pytest.fixture(scope="session")
def full(tmp_path_factory) -> Filler:
    """Return a store of two methods, two seeds, two ipc, two networks and two protocols."""
    filler = Filler(tmp_path_factory.mktemp("full") / "bench")
    filler.bench(methods=["teddy", "apm"], ipc=[1, 10], data=[{"name": "digits", "resize": None}])
    for network, better in (("convnet", 0.0), ("resnet18", -0.1)):
        for protocol in ("dsa", "own"):
            for ipc, more in ((1, 0.0), (10, 0.2)):
                place = {"ipc": ipc, "network": network, "protocol": protocol}
                shift = better + more
                filler.figure("teddy", [[0.70 + shift, 0.72 + shift], [0.68 + shift] * 2], **place)
                filler.figure("apm", [[0.60 + shift, 0.62 + shift], [0.61 + shift] * 2], **place)
                for method in ("teddy", "apm"):
                    random = [[0.50 + shift] * 2, [0.52 + shift] * 2]
                    filler.figure(method, random, role="random", **place)
        filler.real([0.97, 0.99], network)
    filler.images("teddy-digits-1-0")
    filler.images("teddy-digits-10-0")
    filler.images("apm-digits-1-0")
    return filler


@pytest.fixture
def filled(full, tmp_path) -> Filler:
    """Return a copy of that store, which a test may add to."""
    shutil.copytree(full.folder, tmp_path / "bench")
    filler = Filler(tmp_path / "bench")
    filler.count = full.count
    return filler


@pytest.fixture(scope="session")
def page() -> Callable[[Filler], str]:
    """Return a function that renders the page of a store."""
    from ddkit.bench.page.html import render
    from ddkit.bench.results import read_results

    return lambda filler: render(filler.store, read_results(filler.store))


class Tables(HTMLParser):
    """The texts of all tables of a page, by their ids: lists of cells, the head first."""

    def __init__(self, html: str):
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._table: list[list[str]] | None = None
        self._cell: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "table":
            self._table = self.tables.setdefault(found.get("id") or "", [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None and self._table:
            self._table[-1].append("".join(self._cell).strip())
            self._cell = None
        elif tag == "table":
            self._table = None


@pytest.fixture
def tables() -> Callable[[str], dict[str, list[dict[str, str]]]]:
    """Return a function from a page to the rows of its tables, each by column titles.

    Where two columns have one title, the first counts.
    """

    def read(html: str) -> dict[str, list[dict[str, str]]]:
        found = {}
        for name, rows in Tables(html).tables.items():
            if name:
                head = next(row for row in rows if row and row[0])
                body = rows[rows.index(head) + 1 :]
                found[name] = [dict(zip(head[::-1], row[::-1], strict=True)) for row in body]
        return found

    return read


@pytest.fixture
def tags() -> Callable[[str], list[tuple[str, dict[str, str | None]]]]:
    """Return a function from a page to its tags, each with its attributes."""
    return lambda html: Tables(html).tags

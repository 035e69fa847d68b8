"""A run of seconds, its words as a caller says them, and loggers and reports that listen."""

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ddkit
from ddkit.runtime.tensors import TensorFile

STEPS = 6
WORDS: dict[str, Any] = {
    "method": "dm",
    "data": "tiny",
    "ipc": 2,
    "network": "convnet:depth=1:width=4",
    "settings": {"updates": STEPS, "batch_real": 4},
    "threads": 1,
    "preset": "none",
}


def pair(seed: int = 0, each: int = 6) -> tuple[Tensor, Tensor]:
    """Return images of three classes, each around a grey of its own, and their labels."""
    labels = torch.arange(3).repeat(each)
    noise = torch.randint(56, (len(labels), 1, 8, 8), generator=torch.Generator().manual_seed(seed))
    return (labels.view(-1, 1, 1, 1) * 60 + noise).to(torch.uint8), labels


@pytest.fixture(autouse=True)
def tiny(monkeypatch) -> None:
    """Register the data "tiny" for the time of a test."""
    monkeypatch.setattr("ddkit.data.sources.registered._sets", {})
    ddkit.register_data("tiny", pair(0), pair(1), classes=["a", "b", "c"])


@pytest.fixture
def words() -> dict[str, Any]:
    return dict(WORDS)


@pytest.fixture
def distilled(tmp_path) -> Callable[..., ddkit.DistilledDataset]:
    """Return a function that distils into a folder of a name; keywords replace the usual words."""

    def distil(folder: str = "run", **changes: Any) -> ddkit.DistilledDataset:
        return ddkit.distill(**{**WORDS, "out": tmp_path / folder, **changes})

    return distil


class Reports:
    """A `Progress` that calls back at every step of the synthesis."""

    def __init__(self, at_step: Callable[[int], None]):
        self.at_step = at_step
        self.names: list[str] = []

    @contextmanager
    def task(self, name: str, total: int, done: int = 0):
        self.names.append(name)
        self.done = done
        yield self

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        if self.names[-1] == "synthesis" and steps:
            self.at_step(self.done)

    def show(self, **figures: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Listener:
    """A logger that keeps what it hears."""

    def __init__(self) -> None:
        self.begun: list[tuple[Path, str, Mapping[str, Any]]] = []
        self.scalars: dict[str, list[tuple[int, float]]] = {}
        self.pictures: dict[str, list[tuple[int, Tensor]]] = {}
        self.ended = 0

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        self.begun.append((folder, title, config))

    def scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.setdefault(name, []).append((step, value))

    def picture(self, name: str, picture: Tensor, step: int) -> None:
        self.pictures.setdefault(name, []).append((step, picture))

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def reports() -> type[Reports]:
    return Reports


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def losses(tmp_path) -> Callable[..., list[tuple[int, float]]]:
    """Return a function that reads (step, loss) of a shard from its file."""

    def read(folder: str = "run", shard: int = 0) -> list[tuple[int, float]]:
        path = tmp_path / folder / "shards" / f"shard-{shard:05d}.safetensors"
        return list(enumerate(TensorFile(path)["losses"].tolist()))

    return read

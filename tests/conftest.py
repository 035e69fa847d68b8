"""Shared by all tests: a cache of their own, one thread, a tiny data set, and runs on it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ddkit.config import MethodOptions, RunConfig
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.run import Run


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    """No test sees the user's cache, nor what another test cached."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DDKIT_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    """The work is tiny: a second thread only waits where other processes share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_split() -> Callable[..., Split]:
    """Make a split of noise, each class around a grey of its own, so that networks can learn it."""

    def make(classes: int = 3, each: int = 8, shape=(1, 8, 8), seed: int = 0) -> Split:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(classes).repeat(each)
        greys = (labels + 1) * (200 // (classes + 1))
        noise = torch.randint(56, (len(labels), *shape), generator=generator)
        images = (greys.view(-1, 1, 1, 1) + noise).to(torch.uint8)
        return Split(images, labels, tuple("abcdefghij"[:classes]))

    return make


@pytest.fixture
def run(tmp_path, make_split) -> Callable[..., Run]:
    """Make a run of the method "random" on a tiny split; keywords are fields of its config."""

    def make(
        *,
        train: Split | None = None,
        holdout: Split | None = None,
        options: MethodOptions | None = None,
        folder: Path | None = None,
        space: str = "standard",
        **config: Any,
    ) -> Run:
        train = train or make_split()
        fields = {"method": "random", "plugin": "random", "ipc": 2, **config}
        return Run(
            RunConfig.model_validate(fields),
            options or MethodOptions(),
            train,
            holdout,
            InputSpace.fit(train, space),
            torch.device("cpu"),
            folder or tmp_path / "run",
        )

    return make

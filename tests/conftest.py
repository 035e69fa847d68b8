"""Shared by all tests: a cache of their own, one thread, a tiny data set, and runs on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ddkit.testing.fixtures import tiny_run as run
from ddkit.testing.fixtures import tiny_split as make_split

__all__ = ["make_split", "run"]  # what authors of methods get, by the names that tests use


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one of several processes, and all that need a Ray cluster in one."""
    for item in items:
        ray = "execution" in item.path.parts
        file = f"{item.path.parent.name}/{item.path.name}"
        item.add_marker(pytest.mark.xdist_group("ray" if ray else file))


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

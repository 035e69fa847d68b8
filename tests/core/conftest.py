"""Methods made for one test, data that need no files, and a way to ask for a stop."""

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from ddkit.data.sources import load as sources
from ddkit.data.split import Split
from ddkit.distilled.writing import write_distilled
from ddkit.labels import HardLabels, Labels
from ddkit.methods.hookspecs import hookimpl
from ddkit.methods.plugin import METHODS
from ddkit.pipeline.prepare import describe
from ddkit.synthesis.images import Synthetic, stored
from ddkit.synthesis.initial import initial_real


@pytest.fixture
def method(monkeypatch) -> Callable[..., str]:
    """Install a method for the time of a test; keywords are its hooks."""

    def install(name: str = "toy", **hooks: Any) -> str:
        module = ModuleType(f"ddkit_test_{name}")
        for hook, function in hooks.items():
            setattr(module, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(METHODS.builtins, name, EntryPoint(name, module.__name__, "ddkit"))
        return name

    return install


@pytest.fixture
def data(monkeypatch, make_split) -> dict[str, Split]:
    """Let every data set be the splits in this dictionary, which a test may change."""
    splits = {"train": make_split(each=12), "test": make_split(each=10, seed=1)}
    monkeypatch.setattr(sources, "load", lambda options, split, **_: splits[split])
    return splits


@pytest.fixture
def artifact(run, tmp_path) -> Callable[..., Path]:
    """Write an artifact of a run's random real images, and return its path.

    Keywords change the images (a `Synthetic`), the labels, the form they are stored in and the run.
    """

    def make(
        name: str = "set.safetensors",
        *,
        images: Synthetic | None = None,
        labels: Labels | None = None,
        store: str = "auto",
        part_bytes: int = 2**30,
        **config: Any,
    ) -> Path:
        work = run(**config)
        if images is None:
            classes = torch.arange(len(work.classes)).repeat_interleave(work.ipc)
            images = Synthetic(initial_real(work), classes)
        images = replace(images, images=stored(images.images, store))
        labels = labels or HardLabels(images.classes)
        path = tmp_path / name
        write_distilled(path, images, labels, work.space, describe(work), part_bytes)
        return path

    return make

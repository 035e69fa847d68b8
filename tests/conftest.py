"""Shared by all tests: a cache of their own, one thread, tiny data, runs, methods, refusals."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import EntryPoint
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ddkit import Run
from ddkit.data.sources import load as sources
from ddkit.data.split import Split
from ddkit.distilled.writing import write_distilled
from ddkit.evaluation import protocols
from ddkit.labels import HardLabels, Labels
from ddkit.methods.hookspecs import hookimpl
from ddkit.methods.plugin import METHODS, Plugin
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import describe
from ddkit.runtime import interrupt
from ddkit.runtime.process import unchanged
from ddkit.runtime.progress import Silent
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.images import Synthetic, stored
from ddkit.synthesis.initial import initial_real
from ddkit.testing.fixtures import tiny_run as run
from ddkit.testing.fixtures import tiny_split as make_split

__all__ = ["make_split", "run"]  # what authors of methods get, by the names that tests use


LONGEST = {"execution", "test_resume.py", "test_tutorial.py", "test_device.py"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one of several processes, and those of a folder that share one thing.

    That is a Ray cluster, or a made-up CUDA device. What takes longest begins first.
    """
    items.sort(key=lambda item: not LONGEST & {item.path.name, item.path.parent.name})
    for item in items:
        folder = item.path.parent.name
        shared = folder in ("execution", "cuda")
        item.add_marker(pytest.mark.xdist_group(folder if shared else f"{folder}/{item.path.name}"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    """No test sees the user's cache, nor what another test cached."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DDKIT_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def single_thread(monkeypatch) -> Iterator[None]:
    """The work is tiny: a second thread only waits where other processes share the cores.

    Nor do runs that name no number of threads take more. Whatever else a run sets in torch is put
    back as well.
    """
    monkeypatch.setattr("ddkit.pipeline.resolve.available_cores", lambda: 1)
    with unchanged():
        torch.set_num_threads(1)
        yield


class Away(TorchDispatchMode):
    """A device that work is sent to: "meta", which has no values to wait for, and raises if asked.

    Attributes:
        device: that device.
        sent: the shapes of what was copied to it.
        waited: those of the copies that a host would wait for.
    """

    device = torch.device("meta")

    def __init__(self):
        super().__init__()
        self.sent: list[tuple[int, ...]] = []
        self.waited: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name
        if name in ("aten::_to_copy", "aten::copy_"):
            source = args[name == "aten::copy_"]
            target = (
                args[0].device if name == "aten::copy_" else kwargs.get("device", source.device)
            )
            if source.device.type == "cpu" and torch.device(target) == self.device:
                self.sent.append(tuple(source.shape))
                if not (kwargs.get("non_blocking") or args[2:3] == (True,)):
                    self.waited.append(tuple(source.shape))
        return func(*args, **kwargs)


@pytest.fixture
def away(monkeypatch) -> Iterator[Away]:
    """Watch what is copied to a device that is not the CPU."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)  # CUDA's own
    with Away() as device:
        yield device


@pytest.fixture
def synthesised() -> Callable[..., TensorFile]:
    """Return a function that synthesises in a folder of a name, or goes on there.

    It returns the first shard's finished file; options are the engine's.
    """

    def make(run: Run, folder: str = "run", **options: Any) -> TensorFile:
        run = replace(run, folder=run.folder.with_name(folder))
        pool = stage_pools.open_pool(run, "synthesis")
        objective = Plugin(run.config.plugin).synthesis_loss(run, pool)
        engine = Engine(run, objective, **options)
        engine.synthesise()
        return TensorFile(engine.file(objective.shards()[0]).path)

    return make


@pytest.fixture
def request_stop() -> Iterator[Callable[[], None]]:
    """Ask for a stop as the first Ctrl-C does; `interrupt._requested.clear()` takes it back."""
    yield interrupt._requested.set
    interrupt._requested.clear()


@pytest.fixture
def refused_line(tmp_path, monkeypatch, capfd) -> Callable[..., str]:
    """Return a function that calls `ddkit` in an empty folder, and must fail with one line: that.

    Tests of a method have their own `refused`, which adds the flags of a small run.
    """
    from ddkit_cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ddkit", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        err = capfd.readouterr().err
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert leaving.value.code == 1, err
        assert len(errors) == 1, err
        assert "Traceback" not in err
        assert err.rstrip().endswith(errors[0])
        return errors[0]

    return call


class Forked(get_context("fork").Process):
    """A function in a copy of this process: it can be killed, and has nothing to import.

    Attributes:
        output, errors: the files that its stdout and its stderr are written to.
    """

    def __init__(self, function: Callable[[], object], folder: Path, environment: dict[str, str]):
        super().__init__()
        self.function, self.folder, self.environment = function, folder, environment
        self.output, self.errors = folder / "stdout", folder / "stderr"

    def run(self) -> None:
        os.chdir(self.folder)
        os.environ.update(self.environment)
        sys.stdout, sys.stderr = self.output.open("w"), self.errors.open("w")
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stderr.fileno(), 2)
        sys.exit(self.function())

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


@pytest.fixture
def copied(tmp_path) -> Iterator[Callable[..., Forked]]:
    """Return a function that starts another in a copy of this process, in an empty folder.

    What that returns is the exit code. Keywords are of the environment.
    """
    import_module("torch._dynamo")  # each copy would import it with its first optimiser
    started: list[Forked] = []

    def start(function: Callable[[], object], folder: Path = tmp_path, **environment: str):
        started.append(Forked(function, folder, environment))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def forked(copied) -> Callable[..., Forked]:
    """Return a function that starts `ddkit` in a copy of this process; keywords as in `copied`."""
    from ddkit_cli.main import main

    def start(*arguments: str, **environment: str) -> Forked:
        def command() -> None:
            sys.argv = ["ddkit", *arguments]
            main()

        return copied(command, **environment)

    return start


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
def brief_real(monkeypatch) -> None:
    """Train one epoch on all real data: it is the longest part of a small comparison."""
    monkeypatch.setattr(protocols, "DSA", protocols.DSA.model_copy(update={"real_epochs": 1}))


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


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def heard() -> Heard:
    """What progress is reported to, with the `notes` that came."""
    return Heard()

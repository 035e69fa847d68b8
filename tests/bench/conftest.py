"""Benches that take a second: digits, a tiny network, two epochs; and methods of one test."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from ddkit import ImageObjective, Run
from ddkit.bench.config import BenchConfig, read_config
from ddkit.bench.harness import Harness
from ddkit.bench.result_rows import Row
from ddkit.bench.results import read_results
from ddkit.bench.store import Store
from ddkit.evaluation import units
from ddkit.methods.hookspecs import hookimpl
from ddkit.methods.plugin import METHODS
from ddkit.pipeline import distill as pipeline

NETWORK = "convnet:depth=1:width=4"
PIXELS = {"herding": {"method": "herding", "settings": ["features=pixels"]}}  # no network trained


class Fading(ImageObjective):
    """Images fade to grey: the simplest optimisation that changes them."""

    steps = 2

    def __init__(self, run: Run, pool: Any = None):
        super().__init__(run)

    def loss(self, shard: Any, leaves: Any, step: int) -> torch.Tensor:
        return leaves["images"].square().mean()


@pytest.fixture
def method(monkeypatch) -> Callable[..., str]:
    """Install a method for the time of a test; keywords are its hooks, else images fade."""

    def install(name: str = "toy", **hooks: Any) -> str:
        module = ModuleType(f"ddkit_test_{name}")
        for hook, function in {"synthesis_loss": lambda run, pool: Fading(run), **hooks}.items():
            setattr(module, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(METHODS.builtins, name, EntryPoint(name, module.__name__, "ddkit"))
        return name

    return install


@pytest.fixture
def fading() -> type[ImageObjective]:
    """Return an objective to derive others from."""
    return Fading


@pytest.fixture
def config() -> Callable[..., BenchConfig]:
    """Return a function that makes a small bench; keywords are fields of its configuration."""

    def make(*methods: str, **fields: Any) -> BenchConfig:
        said = {
            "methods": methods or ("random",),
            "network": NETWORK,
            "networks": (NETWORK,),
            "protocols": ("dsa",),
            "epochs": 2,
            "evaluation_seeds": 2,
            "selection": "none",
            "real": False,
            "device": "cpu",
            "threads": 1,
            **fields,
            "variants": PIXELS | fields.get("variants", {}),
        }
        return read_config(None, said)

    return make


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "bench"


@dataclass
class Bench:
    """A bench in a folder, and what it did."""

    folder: Path
    failed: list[str]
    store: Store

    def rows(self) -> list[Row]:
        return read_results(self.store).rows

    def accuracies(self) -> dict[str, list[float]]:
        """Return all accuracies, by figure, over evaluation seeds."""
        return {
            entry.key: entry.result["evaluation"]["accuracies"]
            for kind in ("figure", "real")
            for entry in self.store.evaluated(kind)
        }

    def figure(self, role: str = "set", **about: Any) -> Any:
        """Return what the store says of the one figure that `about` describes."""
        wanted = {"role": role, **about}.items()
        (entry,) = [e for e in self.store.all("figure") if wanted <= e.about.items()]
        return entry.result


@pytest.fixture
def bench(config, folder, brief_real) -> Callable[..., Bench]:
    """Return a function that runs a small bench in one folder, or goes on with it there."""

    def run(*methods: str, **fields: Any) -> Bench:
        harness = Harness(config(*methods, **fields), folder)
        return Bench(folder, harness.run(), harness.store)

    return run


@dataclass
class Work:
    """What was distilled, trained and tuned since the last `clear`."""

    distilled: list[str] = field(default_factory=list)
    trained: list[tuple[str, int]] = field(default_factory=list)  # protocol, evaluation seed
    tuned: list[torch.Tensor] = field(default_factory=list)  # the images that chose

    def clear(self) -> None:
        self.distilled.clear()
        self.trained.clear()
        self.tuned.clear()

    def __bool__(self) -> bool:
        return bool(self.distilled or self.trained or self.tuned)


@pytest.fixture
def work(monkeypatch) -> Work:
    """Note what a bench distils, trains and tunes; it is done all the same."""
    seen = Work()
    distil, train, real, tune = (
        pipeline.distill,
        units.evaluate_with,
        units.evaluate_real,
        units.tuned,
    )

    def distilling(config: Any, *rest: Any, **options: Any) -> Path:
        seen.distilled.append(f"{config.method} {config.seed}")
        return distil(config, *rest, **options)

    def training(protocol: Any, dataset: Any, test: Any, network: str, seeds: Any, *rest, **how):
        seen.trained.extend((protocol.name, seed) for seed in seeds)
        return train(protocol, dataset, test, network, seeds, *rest, **how)

    def training_real(protocol: Any, run: Run, test: Any, network: str, seeds: Any, **how: Any):
        seen.trained.extend(("all real data", seed) for seed in seeds)
        return real(protocol, run, test, network, seeds, **how)

    def tuning(protocol: Any, dataset: Any, holdout: Any, network: str, device: Any):
        seen.tuned.append(holdout.images)
        return tune(protocol, dataset, holdout, network, device)

    monkeypatch.setattr(pipeline, "distill", distilling)
    monkeypatch.setattr(units, "evaluate_with", training)
    monkeypatch.setattr(units, "evaluate_real", training_real)
    monkeypatch.setattr(units, "tuned", tuning)
    return seen


SLOW_METHOD = '''
"""Images fade step by step, each step taking a while, so that a signal meets the bench at work."""
import os, time
from pathlib import Path
from ddkit import ImageObjective, hookimpl

class Slow(ImageObjective):
    steps = 15

    def initialise(self, shard):
        with Path(os.environ["SYNTHESES"]).open("a") as file:
            file.write(f"{self.run.config.seed}\\n")
        return super().initialise(shard)

    def loss(self, shard, leaves, step):
        time.sleep(float(os.environ.get("STEP_SECONDS", "0.0")))
        return leaves["images"].square().mean()

@hookimpl
def synthesis_loss(run, pool):
    return Slow(run)
'''


@pytest.fixture
def environment(tmp_path, own_cache) -> dict[str, str]:
    """Return the environment of child processes, in which the method "slow" is installed.

    It writes a line to the file SYNTHESES for each set that it begins or goes on with.
    """
    site = tmp_path / "site"
    about = site / "ddkit_slow-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "ddkit_slow.py").write_text(SLOW_METHOD)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ddkit-slow\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ddkit]\nslow = ddkit_slow\n")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "DDKIT_CACHE": str(own_cache),
        "OMP_NUM_THREADS": "1",
        "SYNTHESES": str(tmp_path / "syntheses"),
    }


@pytest.fixture
def start(tmp_path, environment) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts a small `ddkit bench` as a child process."""
    started: list[subprocess.Popen[str]] = []

    def begin(*flags: str, **more: str) -> subprocess.Popen[str]:
        command = [Path(sys.executable).with_name("ddkit"), *small_bench(flags)]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def small_bench(flags: Sequence[str]) -> list[str]:
    """Return the arguments of a bench that takes seconds."""
    return [
        "bench",
        "--network",
        NETWORK,
        "--networks",
        NETWORK,
        "--protocols",
        "dsa",
        "--epochs",
        "2",
        "--evaluation-seeds",
        "2",
        "--selection",
        "none",
        "--no-real",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--workers",
        "1",
        "-q",
        *flags,
    ]


@pytest.fixture
def forked_bench(forked) -> Callable[..., Any]:
    """Return a function that starts a small `ddkit bench` in a copy of this process."""
    return lambda *flags, **more: forked(*small_bench(flags), **more)


@pytest.fixture
def slow_here(environment, monkeypatch) -> None:
    """Install the method "slow" in this process too; its steps take no time here."""
    from ddkit.runtime.registry import installed

    monkeypatch.syspath_prepend(environment["PYTHONPATH"].split(os.pathsep)[0])
    monkeypatch.setenv("SYNTHESES", environment["SYNTHESES"])
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.fixture
def called(tmp_path, monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Return a function that calls `ddkit` in this process: (exit code, stdout, stderr)."""
    from ddkit_cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ddkit", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        out, err = capfd.readouterr()
        return int(leaving.value.code or 0), out, err

    return call


@pytest.fixture
def benched(called) -> Callable[..., tuple[int, str, str]]:
    """Return a function that calls a small `ddkit bench` with more flags."""
    return lambda *flags: called(*small_bench(flags))

"""Runs that take seconds, and a Ray cluster of three machines that are processes here."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ddkit.config import RunConfig
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime import interrupt
from ddkit.runtime.execution.units import Job, Unit
from ddkit.runtime.progress import Silent
from ddkit.runtime.tensors import TensorFile

IMPORTABLE = Path(__file__).with_name("importable")
TEDDY = (
    "unit=step",
    "first=1",
    "last=5",
    "every=2",
    "train_batch=64",
    "recalibrate=200",
    "iterations=20",
    "label_epochs=2",
    "batch_size=10",
)
APM = (
    "teachers=3",
    "train_epochs=2",
    "train_batch=256",
    "together=1",
    "rounds=3",
    "student_epochs=4",
    "checkpoints=2",
    "lr_images=5",
)
NETWORKS = {"teddy": "convnet:width=8:norm=batch", "apm": "convnet:depth=2:width=8"}


@pytest.fixture(scope="session")
def ray_environment() -> Iterator[dict[str, str]]:
    """Let Ray phone nobody and keep nothing: its files lie in a folder that is thrown away."""
    folder = tempfile.mkdtemp(prefix="ddkit-")  # short: the names of sockets lie in it
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_TOKEN": uuid4().hex,
        "RAY_TMPDIR": folder,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(IMPORTABLE), os.environ.get("PYTHONPATH")])
        ),
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(ray_environment) -> Iterator[Any]:
    """Two machines of one CPU each, and a head that does no units; this process is connected."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    add_machine(cluster)
    add_machine(cluster)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def add_machine(cluster: Any, **resources: Any) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, **resources)


@pytest.fixture
def on_ray(cluster) -> Iterator[Any]:
    """Return the executor on the cluster."""
    from ddkit.runtime.execution import executing

    with executing("ray") as executor:
        yield executor


def configured(method: str, *settings: str, **common: Any) -> RunConfig:
    """Return a configuration; keywords are fields of it."""
    small = TEDDY if method == "teddy" else APM
    fields = {"ipc": 4, "threads": 1, "network": NETWORKS[method], **common}
    return resolve(Request(method, fields, {}, [*small, *settings], "none"))


def distilled(folder: Path, config: RunConfig, **options: Any) -> dict[str, bytes]:
    """Distil, or go on, in a folder with its own cache, and return every file's bytes.

    Of shards these are the tensors' bytes: beside them stands the peak memory that was measured.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDKIT_CACHE", str(folder / "cache"))
        artifact = pipeline.distill(config, folder / "run", **options)
    pools = (folder / "cache" / "pools").glob("*/*")
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in [artifact, *pools]
        if path.name not in ("cost.json", ".lock")
    }
    for path in artifact.parent.glob("shards/*"):
        for name, tensor in TensorFile(path).read().items():
            files[f"{path.name} {name}"] = tensor.numpy().tobytes()
    return files


@pytest.fixture
def config_of() -> Callable[..., RunConfig]:
    return configured


@pytest.fixture
def made_by(tmp_path) -> Callable[..., dict[str, bytes]]:
    """Return a function that distils in a folder of a name and returns every file's bytes."""
    return lambda name, config, **options: distilled(tmp_path / name, config, **options)


@pytest.fixture(scope="session")
def long_run(tmp_path_factory) -> tuple[RunConfig, dict[str, bytes]]:
    """Return a run that takes seconds per shard, and what it ends in here."""
    config = configured("teddy", "iterations=900")
    return config, distilled(tmp_path_factory.mktemp("long"), config)


@pytest.fixture
def request_stop() -> Iterator[Callable[[], None]]:
    """Ask for a stop as the first Ctrl-C does; the request ends with the test."""
    yield interrupt.request_stop
    interrupt._requested.clear()


@pytest.fixture
def do(on_ray, tmp_path) -> Callable[..., None]:
    """Do units of one function of `small_units` on Ray, one for each name."""

    def run(
        function: str, *names: str, progress=None, after=None, gpu=False, **arguments: Any
    ) -> None:
        shared = {"folder": str(tmp_path), **arguments}
        job = Job("units", f"small_units:{function}", shared, gpu=gpu)
        units = [
            Unit(name, lambda task: None, {"name": name}, after=(after or {}).get(name, ()))
            for name in names
        ]
        on_ray.run(job, units, progress or Silent())

    return run

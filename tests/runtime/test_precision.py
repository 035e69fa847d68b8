"""`--precision` reaches whatever a run computes: pools, steps, students, labels, tests.

On a CPU it changes nothing, but what CUDA would do is set there too, and can be seen at each
convolution and matrix product.
"""

from collections.abc import Iterator

import pytest
import torch
from click.testing import CliRunner
from ddkit_cli.commands.train import train
from torch.utils._python_dispatch import TorchDispatchMode

from ddkit.distilled.dataset import load
from ddkit.evaluation import protocols
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import evaluate as comparison
from ddkit.pipeline import relabel as relabelling
from ddkit.pipeline import work
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.prepare import begun, check_inputs, prepare
from ddkit.pipeline.rehearse import rehearse
from ddkit.pipeline.relabel import RelabelRequest
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.arithmetic import OPERATIONS, Arithmetic, usual
from ddkit.runtime.process import settle, unchanged
from ddkit.runtime.progress import Silent

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TEACHER = ("teachers=2", "train_epochs=1", "train_batch=12")
TEDDY = (
    "unit=step",
    "first=1",
    "last=3",
    "train_batch=12",
    "recalibrate=20",
    "teachers=2",
    "batch_size=3",
    "label_epochs=2",
    "iterations=2",
)
METHODS = {
    "random": ("random",),
    "teddy": ("teddy", *TEDDY, "statistics=exact"),
    "teddy post": (
        "teddy",
        *TEDDY,
        "pool=post",
        "members=2",
        "finetune_epochs=1",
        "finetune_batch=12",
    ),
    "tesla": (
        "tesla",
        "experts=2",
        "train_epochs=2",
        "train_batch=12",
        "together=2",
        "student_steps=2",
        "expert_epochs=1",
        "max_start_epoch=1",
        "lr_images=1",
        "iterations=2",
    ),
    "apm": (
        "apm",
        *TEACHER,
        "together=1",
        "student_epochs=2",
        "checkpoints=2",
        "rounds=2",
        "evaluation_epochs=2",
    ),
    "dsa": ("dsa", "batch_real=8", "outer_loop=2", "inner_epochs=1", "updates=2"),
    "dm": ("dm", "batch_real=8", "updates=2"),
    "herding": ("herding", *TEACHER),
}
CONVOLVE = {"convolution", "convolution_backward", "_convolution"}
MULTIPLY = {"mm", "addmm", "bmm", "baddbmm"}


class Roundings(TorchDispatchMode):
    """Notes how CUDA would round the convolutions and the products of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: set[str] = set()
        self.products: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        if name in CONVOLVE | MULTIPLY:
            product, *convolutions = (operation.fp32_precision for operation in OPERATIONS)
            self.convolutions |= set(convolutions) if name in CONVOLVE else set()
            self.products |= {product} if name in MULTIPLY else set()
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def as_torch_comes() -> Iterator[None]:
    """Begin as torch does, with TF32 for convolutions, and leave nothing behind."""
    with unchanged():
        settle(CUDA, "auto")
        yield


@pytest.fixture(autouse=True)
def brief(monkeypatch) -> None:
    for name in ("DSA", "DSA_SOFT", "L1", "SOFT"):
        whole = getattr(protocols, name).with_recipe(epochs=1)
        monkeypatch.setattr(protocols, name, whole.model_copy(update={"real_epochs": 1}))


def config_of(method: str, *settings: str, **common):
    network = "convnet:depth=1:width=4" + ":norm=batch" * (method in ("teddy", "dm"))
    common = {"ipc": 2, "threads": 1, "device": "cpu", "network": network, **common}
    return resolve(Request(method, common, {"holdout": 0.2}, settings, "none"))


def evaluated(path, **options):
    return comparison.compare(
        path,
        protocols=None,
        networks=None,
        seeds=range(2),
        own=True,
        tune_lr=True,
        progress=Silent(),
        **options,
    )


@pytest.fixture
def holdout(data, make_split) -> None:
    """Let there be enough images for a holdout of each class."""
    data["train"] = make_split(each=20)


@pytest.mark.parametrize(
    ("name", "precision", "rounding"),
    [
        *((name, "fp32", "ieee") for name in METHODS),
        ("teddy", "bf16", "tf32"),
        ("apm", "tf32", "tf32"),
    ],
)
def test_all_that_a_run_computes_is_as_it_says(name, precision, rounding, holdout, tmp_path):
    config = config_of(*METHODS[name], precision=precision)
    with Roundings() as seen:
        path = pipeline.distill(config, tmp_path / "run")
    for_the_run = set(seen.convolutions)
    with Roundings() as seen:
        rows = evaluated(path)
    assert for_the_run in ({rounding}, set())  # random images need no network
    assert seen.convolutions == {rounding}
    assert seen.products == {"ieee"}
    assert {row.evaluation.precision for row in rows} == {"fp32"}  # what a CPU does
    if load(path).labels.kind != "hard":
        with Roundings() as seen:
            relabelling.relabel(path, tmp_path / "again.safetensors", RelabelRequest(), Silent())
        assert seen.convolutions == {rounding}


def test_an_evaluation_may_have_a_precision_of_its_own(holdout, tmp_path, own_cache):
    path = pipeline.distill(config_of(*METHODS["teddy"], precision="fp32"), tmp_path / "run")
    evaluated(path)  # makes random images, and their labels in the run's own precision
    with Roundings() as seen:
        evaluated(path, precision="tf32")
    assert seen.convolutions == {"tf32"}
    assert len(list((own_cache / "pools").glob("*/pool.json"))) == 1  # nothing is trained again


def test_figures_of_two_precisions_are_kept_apart(holdout, tmp_path, own_cache):
    path = pipeline.distill(config_of("random"), tmp_path / "run")
    counts = []
    for precision in ("tf32", "fp32", None, "tf32"):  # float32 is what a CPU's run has
        evaluated(path, precision=precision)
        counts.append(len(list((own_cache / "evaluations").glob("*.json"))))
    assert counts[0] < counts[1] == counts[2] == counts[3]
    assert counts[1] - 1 == 2 * (counts[0] - 1)  # one file says what trains at once


@pytest.mark.parametrize(("said", "rounding"), [([], "ieee"), (["--precision", "tf32"], "tf32")])
def test_a_network_is_trained_as_the_run_says_or_the_user(holdout, tmp_path, said, rounding):
    path = pipeline.distill(config_of("random", precision="fp32"), tmp_path / "run")
    arguments = [str(path), "--epochs", "1", "--out", str(tmp_path / "weights.safetensors")]
    with Roundings() as seen:
        done = CliRunner().invoke(train, [*arguments, *said])
    assert done.exit_code == 0, done.output
    assert seen.convolutions == {rounding}


def test_a_rehearsal_computes_as_the_run_says(tmp_path):
    config = config_of(*METHODS["apm"], precision="fp32")
    with Roundings() as seen:
        rehearse(config, Data(60, 3, (1, 8, 8)))
    assert seen.convolutions == {"ieee"}


def test_units_of_several_runs_in_one_worker_compute_each_as_its_run_says(holdout, tmp_path):
    work._engine.cache_clear()
    config = config_of(*METHODS["teddy"], precision="fp32")
    run = begun(config, tmp_path / "run", Silent()).run
    check_inputs(run)
    common = {**run.job("job", "function").arguments, "snapshot_every": 0}
    with Roundings() as seen:
        for shard in (0, 1):
            work.optimise_shard(Silent(), **common, shard=shard)
            settle(CUDA, "auto")  # as a unit of another run leaves the worker
    assert seen.convolutions == {"ieee"}


def test_seeds_that_a_worker_trains_are_of_the_driver_s_precision(holdout, tmp_path):
    work._comparison.cache_clear()
    path = pipeline.distill(config_of("random", precision="fp32"), tmp_path / "run")
    run = prepare(config_of("random", precision="fp32"), path.parent)
    protocol = protocols.DSA.model_dump(mode="json")
    arguments = {
        **run.job("seeds", "function").arguments,
        "artifact": str(path),
        "dataset": str(path),
        "protocol": protocol,
        "network": "convnet:depth=1:width=4",
        "together": False,
    }
    with Roundings() as seen:
        for seed in (0, 1):
            out = str(tmp_path / f"{seed}.json")
            work.evaluate_seeds(Silent(), **arguments, seeds=[seed], out=out)
            settle(CUDA, "auto")
    assert seen.convolutions == {"ieee"}


@pytest.mark.parametrize(
    ("precision", "usually"),
    [
        ("auto", "tf32"),
        ("fp32", "fp32"),
        ("tf32", "tf32"),
        ("bf16", "tf32"),
    ],
)
def test_loops_that_choose_nothing_follow_the_process(precision, usually):
    settle(CUDA, precision)
    assert usual(CUDA) == Arithmetic(usually)
    assert usual(CPU) == Arithmetic("fp32")


def test_a_loop_s_own_precision_ends_with_its_step():
    settle(CUDA, "fp32")
    with Arithmetic("tf32").rounding(CUDA):
        assert {operation.fp32_precision for operation in OPERATIONS} == {"tf32"}
    assert {operation.fp32_precision for operation in OPERATIONS} == {"ieee"}


def test_recurrent_networks_are_meant_as_well():
    settle(CUDA, "fp32")
    assert torch.backends.cudnn.rnn.fp32_precision == "ieee"

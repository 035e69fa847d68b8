"""Memory that runs out is one line: what did, how much there was, what helps; nothing is lost."""

import errno
import json

import pytest
import torch
from ddkit_matching.objective import MatchingObjective

from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.shortage import ways_out
from ddkit.pipeline.work import optimise_shard
from ddkit.runtime.errors import OutOfMemory
from ddkit.runtime.progress import Silent
from ddkit.runtime.shortage import enough_memory, short_of

CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB"
)
HOST = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 3000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (CUDA, "cuda"),
        (RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"), "cuda"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            "cuda",
        ),
        (HOST, "cpu"),
        (MemoryError(), "cpu"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "cpu"),
        (OSError(errno.ENOENT, "No such file"), None),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_where_memory_was_short(error, place):
    assert short_of(error) == place


def test_the_line_says_what_ran_out_where_and_what_would_take_less():
    with (
        pytest.raises(OutOfMemory) as found,
        enough_memory(
            "the synthesis",
            ways=lambda taken: ["--groups 2", f"{taken > 10**7}", "less"],
            kept=". K",
        ),
    ):
        raise HOST
    line = str(found.value)
    assert line.startswith("the synthesis ran out of memory on this machine: it had ")
    assert line.endswith(" and wanted 3.0 GB more; try --groups 2, True or less. K")


def test_other_errors_pass_as_they_are():
    with pytest.raises(RuntimeError, match=r"^shapes$"), enough_memory("the synthesis"):
        raise RuntimeError("shapes")


def test_on_cuda_it_says_what_the_device_has_and_what_others_took(monkeypatch):
    gib = 2**30
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (2 * gib, 80 * gib))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 68 * gib)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: 60 * gib)
    with pytest.raises(OutOfMemory) as found, enough_memory("the synthesis", "cuda:1"):
        raise CUDA
    assert str(found.value) == (
        "the synthesis ran out of memory on cuda:1: it had 64.4 GB of 85.9 GB, beside 10.7 GB of "
        "others and wanted 2.7 GB more; try a smaller network"
    )


WAYS = [
    (
        "teddy",
        {},
        "synthesis",
        ["--memory-budget 8.0GB", "a smaller batch_size (--set batch_size=…, now 100)"],
    ),
    ("teddy", {"memory_budget": 5 * 10**9}, "synthesis", ["--memory-budget 4.0GB"]),
    ("teddy", {}, "pool", ["a smaller train_batch (--set train_batch=…, now 256)"]),
    ("teddy", {}, "relabel", ["a smaller label_members"]),
    ("tesla", {}, "synthesis", ["--memory-budget 8.0GB", "--groups 2", "batch_syn=…, now all)"]),
    ("dm", {}, "synthesis", ["--groups 2", "a smaller batch_real"]),
    ("dm", {"groups": 5}, "synthesis", ["a smaller batch_real"]),
]


@pytest.mark.parametrize(("method", "flags", "stage", "expected"), WAYS)
def test_the_ways_out_are_those_that_the_method_has(method, flags, stage, expected):
    config = resolve(Request(method, {"ipc": 5, **flags}, preset="none"))
    found = ways_out(config, stage, 10**10)
    for way, start in zip(found, expected, strict=False):
        assert start in way
    assert ("--groups" in " ".join(found)) == ("--groups" in " ".join(expected))
    assert found[-1].startswith("a smaller network")


def test_options_of_another_plugin_have_its_prefix():
    settings = ["relabel.label_members=4"]
    request = Request("random", {"ipc": 5}, {}, settings, "none", {"relabel": "teddy"})
    config = resolve(request)
    assert "--set relabel.label_members=…, now 4" in ways_out(config, "relabel", 1)[0]


@pytest.fixture
def config():
    flags = {"ipc": 4, "groups": 2, "network": "convnet:depth=1:width=4"}
    settings = ["updates=3", "batch_real=8"]
    return resolve(Request("dm", flags, {"name": "digits"}, settings, "none"))


def test_a_run_that_ran_out_goes_on_where_it_was(config, tmp_path, monkeypatch):
    whole = pipeline.distill(config, tmp_path / "whole").read_bytes()
    loss = MatchingObjective.loss

    def short(self, shard, leaves, step):
        if (shard.index, step) == (1, 1):
            raise HOST
        return loss(self, shard, leaves, step)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(MatchingObjective, "loss", short)
        with pytest.raises(OutOfMemory, match=r"^the synthesis ran out .* try --groups 4, a smal"):
            pipeline.distill(config, folder)
        arguments = {"config": config.model_dump(mode="json"), "folder": str(folder)}
        with pytest.raises(OutOfMemory, match=r"^the synthesis ran out of memory"):
            optimise_shard(Silent(), **arguments, snapshot_every=0, shard=1)  # as Ray does it
    assert (folder / "shards" / "shard-00000.safetensors").exists()
    assert json.loads((folder / "cost.json").read_text())["synthesis_seconds"] > 0
    assert pipeline.distill(config, folder).read_bytes() == whole


def test_what_a_dead_worker_left_half_written_is_removed_when_a_run_ends(
    config, tmp_path, monkeypatch
):
    loss = MatchingObjective.loss
    left = tmp_path / "run" / "shards" / ".shard-00001.checkpoint.safetensors.abcd_123"

    def leaving(self, shard, leaves, step):
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
        return loss(self, shard, leaves, step)

    monkeypatch.setattr(MatchingObjective, "loss", leaving)
    pipeline.distill(config, tmp_path / "run")
    assert not left.exists()


def test_it_names_what_ran_out_beside_all_stages(monkeypatch, capfd):
    """Such as the loading of data."""
    from ddkit_cli.main import main

    def short(*arguments, **options):
        raise MemoryError("Unable to allocate 7.28 TiB for an array")

    monkeypatch.setattr("sys.argv", ["ddkit", "data", "digits"])
    monkeypatch.setattr("ddkit.data.sources.load.load", short)
    with pytest.raises(SystemExit) as left:
        main()
    line = capfd.readouterr().err
    assert left.value.code == 1
    assert line.startswith("error: ddkit data ran out of memory on this machine: it had ")
    assert line.endswith(" and wanted 8.0 TB more; try a smaller network\n")

"""The same run on CUDA: works from pool to accuracy, and agrees with the CPU."""

import pytest
import torch

from ddkit import pipeline, stage_pools
from ddkit.arithmetic import EXACT
from ddkit.distilled import load
from ddkit.evaluation import evaluate_with, open_test, protocol_for
from ddkit.resolve import Request, resolve
from ddkit.storage import read_json

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SETTINGS = [
    "unit=step", "first=1", "last=9", "every=4", "iterations=20", "label_epochs=3", "lr=0.01",
]  # fmt: skip


def distilled(device, folder, *settings):
    flags = {"ipc": 2, "threads": 1, "device": device, "network": "convnet:width=16:norm=batch"}
    config = resolve(Request("teddy", flags, {}, [*SETTINGS, *settings], "none"))
    return config, load(pipeline.distill(config, folder))


def test_images_agree_with_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "cache"))
    rows = torch.arange(20)
    _, cpu = distilled("cpu", tmp_path / "cpu")
    _, cuda = distilled("cuda", tmp_path / "cuda")
    assert (cpu.pixels(rows) - cuda.pixels(rows)).abs().mean() < 0.02
    assert (cpu.labels.logits - cuda.labels.logits).abs().float().mean() < 0.5


def test_the_same_run_gives_the_same_bytes(tmp_path, monkeypatch):
    for name in ("first", "second"):
        monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / name / "cache"))
        distilled("cuda", tmp_path / name / "run")
    first, second = (
        (tmp_path / name / "run" / "distilled.safetensors").read_bytes()
        for name in ("first", "second")
    )
    assert first == second


@pytest.mark.parametrize("settings", [
    ["statistics=classwise"], ["statistics=exact", "augmentation=rrc"],
    ["pool=post", "members=2", "prune_ratio=0.25", "finetune_epochs=0.2"],
])  # fmt: skip
def test_every_way_runs_and_evaluates(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "cache"))
    config, artifact = distilled("cuda", tmp_path / "run", *settings)
    run = pipeline.prepare(config, tmp_path / "run")
    for name in ("dsa", "soft"):
        protocol = protocol_for(name).with_recipe(epochs=3)
        result = evaluate_with(protocol, artifact, open_test(run), config.network, [0], run.device)
        assert 0 <= result.mean <= 1


@pytest.mark.parametrize("method", ["teddy", "tesla", "apm"])
def test_loops_measure_what_is_fastest_and_keep_it(method, tmp_path, monkeypatch):
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "cache"))
    settings = {
        "teddy": SETTINGS,
        "tesla": ["experts=2", "train_epochs=2", "max_start_epoch=1", "expert_epochs=1",
                  "student_steps=3", "iterations=10"],
        "apm": ["teachers=2", "train_epochs=1", "rounds=4", "student_epochs=5"],
    }[method]  # fmt: skip
    network = "convnet:width=16" + (":norm=batch" if method == "teddy" else "")
    flags = {"ipc": 1, "threads": 1, "device": "cuda", "network": network}
    pipeline.distill(resolve(Request(method, flags, {}, settings, "none")), tmp_path / "run")
    if method == "teddy":  # the others bear TF32 in one memory layout: they have no choice
        kept = read_json(tmp_path / "run" / "settled.json")["arithmetic of the synthesis"]
        assert kept["precision"] in ("tf32", "bf16")
    pools = list((tmp_path / "cache" / "pools").glob("*/settled.json"))
    assert pools
    assert all(key.startswith("arithmetic of") for path in pools for key in read_json(path))


def test_a_step_never_waits_for_the_device(tmp_path, monkeypatch):
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "cache"))
    flags = {"ipc": 2, "threads": 1, "device": "cuda", "network": "convnet:width=16:norm=batch"}
    config = resolve(Request("teddy", {**flags, "precision": "fp32"}, {}, SETTINGS, "none"))
    run = pipeline.prepare(config, tmp_path / "run").for_stage("synthesis")
    engine = pipeline.engine_of(run, stage_pools.open_pool(run, "synthesis"))
    shard = engine.objective.shards()[0]
    leaves = engine._leaves(shard)
    for step in range(4):  # the first ones bring networks to the device
        engine._step(shard, leaves, step, EXACT)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(4, 8):
            engine._step(shard, leaves, step, EXACT)
    finally:
        torch.cuda.set_sync_debug_mode("default")

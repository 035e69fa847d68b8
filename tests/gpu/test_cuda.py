"""The same run on CUDA: works from pool to accuracy, and agrees with the CPU."""

import pytest
import torch

from ddkit import pipeline
from ddkit.distilled import load
from ddkit.evaluation import evaluate_with, open_test, protocol_for
from ddkit.resolve import Request, resolve

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

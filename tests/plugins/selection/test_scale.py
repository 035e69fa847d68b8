"""RDED from 1.3 million images that are files: little memory, killed, gone on with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT))  # as the other process starts this file

from ddkit_selection.objective import objective_of  # noqa: E402
from ddkit_selection.options import SelectionOptions  # noqa: E402

from ddkit import Run, patch_losses  # noqa: E402
from ddkit.config import RunConfig  # noqa: E402
from ddkit.data.pixels.picture import Reading  # noqa: E402
from ddkit.data.sources.load import opened  # noqa: E402
from ddkit.data.space import InputSpace  # noqa: E402
from ddkit.networks import create  # noqa: E402
from ddkit.runtime.progress import Silent  # noqa: E402
from ddkit.runtime.tensors import TensorFile  # noqa: E402
from ddkit.synthesis.budget import HeldPool, made_up_member  # noqa: E402
from ddkit.synthesis.engine import Engine  # noqa: E402
from ddkit.synthesis.patches import patch_collages  # noqa: E402
from tests.data.pixels.test_scale import CLASSES, LIMIT, anonymous, listing  # noqa: E402

SIDE = 64


def engine(folder: Path) -> Engine:
    """Return RDED with a network that was not trained, which nothing here depends on."""
    split = opened(listing(SIDE), Reading(), Silent())
    config = RunConfig.model_validate({"method": "rded", "plugin": "selection", "ipc": 1})
    options = SelectionOptions(rule="rded", candidates=8, crops=2, collage=2)
    space = InputSpace(torch.full((3,), 0.5), torch.ones(3))
    run = Run(config, options, split, None, space, torch.device("cpu"), folder)
    random = torch.Generator().manual_seed(0)
    network = create(
        "convnet:depth=1:width=4", classes=CLASSES, shape=(3, SIDE, SIDE), generator=random
    )
    pool = HeldPool(run, [network.eval()], [made_up_member("teacher")])
    return Engine(run, objective_of(run, pool))


def killed(folder: Path) -> list[Path]:
    """Begin in another process, kill it in the midst of it, and return what it wrote."""
    child = subprocess.Popen([sys.executable, __file__, str(folder)], env=dict(os.environ))
    deadline = time.monotonic() + 1200
    while time.monotonic() < deadline and child.poll() is None:
        if len(list(folder.glob("patches/class-*.safetensors"))) > CLASSES // 5:
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    assert child.wait() == -signal.SIGKILL
    return sorted(folder.glob("patches/class-*.safetensors"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is anonymous")
def test_images_are_put_together_out_of_1300000_killed_and_gone_on_with(
    own_cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    folder = tmp_path / "run"
    before = {path: path.stat().st_mtime_ns for path in killed(folder)}
    assert CLASSES // 5 < len(before) < CLASSES
    work = engine(folder)
    (pixels,) = own_cache.glob("data/*/pixels.bin")
    try:
        (shard,) = work.objective.shards()
        held, peaks = anonymous(), []
        watched = "ddkit.synthesis.patches.check_stop"  # is called before each class
        monkeypatch.setattr(watched, lambda: peaks.append(anonymous() - held))
        work.synthesise()
        images = TensorFile(work.file(shard).path)["images"]
        assert images.shape == (CLASSES, 3, SIDE, SIDE)
        assert max(peaks) < LIMIT + images.nbytes / 1e6
        assert all(path.stat().st_mtime_ns == written for path, written in before.items())
        losses = patch_losses(work.objective.pool, [0])
        for label in (0, len(before) - 1, CLASSES - 1):
            expected = patch_collages(work.objective.run, label, losses)[0].float() / 255
            assert torch.allclose(images[label], expected, atol=1e-6)
    finally:
        pixels.unlink()


if __name__ == "__main__":
    engine(Path(sys.argv[1])).synthesise()

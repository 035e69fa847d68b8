"""What loggers hear: all of the story, wherever the work is done, and no byte changes by it."""

import json
import sys
from io import BytesIO
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import ddkit
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime import loggers, registry
from ddkit.runtime.progress import Silent
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis import engine as synthesis
from ddkit.synthesis.journal import picture

ANOTHER = """
import json, pathlib

class Lines:
    def begin(self, folder, title, config):
        folder.mkdir(parents=True)
        self.file = (folder / "lines.txt").open("w")
        self.tell([title, config["ipc"]])

    def tell(self, values):
        self.file.write(json.dumps(values) + "\\n")

    def scalar(self, name, value, step):
        self.tell([name, step, value])

    def picture(self, name, picture, step):
        self.tell([name, step, list(picture.shape)])

    def end(self):
        self.file.close()
"""


class Elsewhere:
    """Does each unit as a process of its own would: from the names and values that it gets."""

    def run(self, job, units, progress, done=0):
        for unit in units:
            resolve_name(job.function)(Silent(), **{**job.arguments, **unit.arguments})


@pytest.fixture
def each_step(monkeypatch) -> None:
    """Let the engine read the loss of every step, as it does where a step takes long."""
    monkeypatch.setattr(synthesis, "SHOW_SECONDS", -1)


def test_every_loss_is_told_once_under_its_step(distilled, listener, losses):
    distilled(log=listener, groups=2)
    assert listener.scalars == {f"loss/shard {shard}": losses(shard=shard) for shard in (0, 1)}
    assert listener.ended == 1


@pytest.mark.usefixtures("each_step")
def test_losses_are_told_as_soon_as_they_are_read(distilled, listener, reports, losses):
    told: list[int] = []
    watch = reports(lambda step: told.append(len(listener.scalars.get("loss/shard 0", []))))
    distilled(log=listener, progress=watch)
    assert told == [0, 1, 2, 3, 4, 5]
    assert listener.scalars["loss/shard 0"] == losses()


def test_no_step_waits_for_a_logger(distilled, listener, reports, monkeypatch):
    monkeypatch.setattr(synthesis, "SHOW_SECONDS", 1e9)
    told: list[int] = []
    distilled(log=listener, progress=reports(lambda step: told.append(len(listener.scalars))))
    assert told == [0] * 6


def test_pictures_show_where_images_start_and_end(distilled, listener, tmp_path):
    found = distilled(log=listener, store="float32")
    (first, start), *_, (last, end) = listener.pictures["images/shard 0"]
    assert (first, last) == (0, 6)
    pixels = found.pixels(torch.arange(6))
    # a cell of 4 × 8 pixels and a line of 2 pixels before each image
    for image in range(6):
        corner = end[:, 2:34:4, 2 + 34 * image : 34 + 34 * image : 4]
        assert torch.equal(corner[:1], pixels[image].clamp(0, 1).mul(255).round().byte())
    assert start.shape == end.shape == (3, 36, 2 + 6 * 34)
    initial = TensorFile(tmp_path / "run" / "shards" / "shard-00000.safetensors")["initial"]
    assert torch.equal(start, picture(initial))
    assert not torch.equal(start, end)


def test_a_picture_of_many_images_shows_the_first_sixty_four():
    shown = picture(torch.full((100, 3, 32, 32), 2.0))
    assert shown.shape == (3, 8 * 34 + 2, 8 * 34 + 2)
    assert (shown == 255).all()


def test_a_session_says_which_run_it_is(distilled, listener, tmp_path):
    found = distilled(log=listener)
    rows = ddkit.evaluate(found, seeds=2, epochs=1, random=False, real=False, log=listener)
    folders = [tmp_path / "run" / "logs" / what for what in ("distill", "evaluate")]
    assert listener.begun == [(folder, "run", found.config) for folder in folders]
    assert listener.scalars["accuracy/dm, convnet:depth=1:width=4, dsa"] == list(
        enumerate(rows[0].evaluation.accuracies)
    )


def test_a_logger_changes_no_byte(distilled, listener):
    plain = distilled("plain").file.path.read_bytes()
    assert distilled("told", log=listener).file.path.read_bytes() == plain


def test_a_run_that_goes_on_tells_all_of_its_story(distilled, reports, listener, losses):
    def stop(step: int) -> None:
        if step == 4:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        distilled(progress=reports(stop), log=listener)
    assert listener.ended == 1
    listener.scalars.clear()
    distilled(log=listener)
    assert listener.scalars["loss/shard 0"] == losses()


def test_shards_that_others_do_are_told_from_their_files(listener, losses, tmp_path, words):
    common = {name: words[name] for name in ("ipc", "network", "threads")} | {"groups": 2}
    config = resolve(Request("dm", common, {"name": "tiny"}, words["settings"], "none"))
    pipeline.distill(config, tmp_path / "run", executor=Elsewhere(), logger=listener)
    assert listener.scalars == {f"loss/shard {shard}": losses(shard=shard) for shard in (0, 1)}
    assert [step for step, _ in listener.pictures["images/shard 1"]] == [0, 6]


def test_an_error_ends_the_session(distilled, listener, reports):
    def stop(step: int) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        distilled(progress=reports(stop), log=listener)
    assert listener.ended == 1


def test_with_overwrite_the_logs_of_the_other_run_go_too(distilled, tmp_path):
    old = tmp_path / "run" / "logs" / "distill" / "old"
    distilled()
    old.parent.mkdir(parents=True)
    old.touch()
    distilled(seed=1, overwrite=True)
    assert not old.exists()


def test_loggers_of_others_are_found_by_name(distilled, losses, tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "ddkit_lines-1.0.dist-info").mkdir(parents=True)
    (site / "ddkit_lines.py").write_text(ANOTHER)
    (site / "ddkit_lines-1.0.dist-info" / "METADATA").write_text(
        "Name: ddkit-lines\nVersion: 1.0\n"
    )
    (site / "ddkit_lines-1.0.dist-info" / "entry_points.txt").write_text(
        "[ddkit.loggers]\nlines = ddkit_lines:Lines\n"
    )
    monkeypatch.syspath_prepend(str(site))
    registry.installed.cache_clear()
    try:
        distilled(log="lines")
    finally:
        registry.installed.cache_clear()
    text = (tmp_path / "run" / "logs" / "distill" / "lines.txt").read_text()
    told = [json.loads(line) for line in text.splitlines()]
    assert told[0] == ["run", 2]
    assert [line for line in told if line[0] == "loss/shard 0"] == [
        ["loss/shard 0", step, loss] for step, loss in losses()
    ]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_before_any_work(name, distilled, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delitem(sys.modules, f"ddkit.loggers.{name}", raising=False)
    with pytest.raises(ddkit.DdkitError, match=rf"pip install 'ddkit\[{name}\]'"):
        distilled(log=name)
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_one_line(distilled):
    with pytest.raises(ddkit.DdkitError, match="unknown logger 'tensorbord': did you mean 'tens"):
        distilled(log="tensorbord")


def test_several_loggers_hear_the_same(listener):
    both = loggers.Several([listener, listener])
    both.scalar("loss", 1.0, 0)
    assert listener.scalars == {"loss": [(0, 1.0), (0, 1.0)]}


def test_tensorboard_files_hold_losses_pictures_and_configuration(distilled, losses, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = distilled(log="tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "distill")).Reload()
    told = [(event.step, event.value) for event in events.Scalars("loss/shard 0")]
    assert told == losses()  # float32 both
    last = events.Images("images/shard 0")[-1]
    image = np.asarray(Image.open(BytesIO(last.encoded_image_string)))
    assert last.step == 6
    value = found.pixels(torch.tensor([0]))[0, 0, 0, 0].clamp(0, 1).mul(255).round().item()
    assert image[2, 2].tolist() == [value] * 3
    config = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(config) == found.config


@pytest.mark.usefixtures("each_step")
def test_tensorboard_shows_a_run_that_went_on_once(distilled, reports, losses, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def stop(step: int) -> None:
        if step == 4:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        distilled(progress=reports(stop), log="tensorboard")
    distilled(log="tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "distill")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/shard 0")] == losses()


def test_weights_and_biases_get_losses_under_steps_of_their_own(distilled, losses, monkeypatch):
    told: list[dict] = []
    asked: dict = {}
    run = SimpleNamespace(
        log=told.append,
        define_metric=lambda *names, **by: None,
        finish=lambda: told.append({}),
    )
    stand_in = SimpleNamespace(
        init=lambda **about: asked.update(about) or run,
        Image=lambda array: array.shape,
        Error=OSError,
    )
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.delitem(sys.modules, "ddkit.runtime.loggers.wandb", raising=False)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    found = distilled(log="wandb")
    sys.modules.pop("ddkit.runtime.loggers.wandb")
    assert (asked["project"], asked["name"], asked["config"]) == ("mine", "run", found.config)
    assert Path(asked["dir"]).is_dir()
    assert [(row["step"], row["loss/shard 0"]) for row in told if "loss/shard 0" in row] == losses()
    assert {"images/shard 0": (36, 206, 3), "step": 6} in told
    assert told[-1] == {}


def test_weights_and_biases_write_a_run_of_their_own_offline(distilled, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    distilled(log="wandb")
    (found,) = (tmp_path / "run" / "logs" / "distill").glob("wandb/offline-run-*/*.wandb")
    assert b"loss/shard 0" in found.read_bytes()

"""Sets of FRePo and RCIG: flax checkpoints, packed here by hand, in their whitened space."""

import msgpack
import numpy as np
import pytest
import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.distilled.interop.formats import recognised
from ddkit.runtime.errors import DdkitError
from tests.distilled.interop.conftest import MEAN, NAMES, STD, all_pixels, checkpoint, normalised

CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
SAID = {"classes": NAMES, "mean": MEAN, "std": STD}
TARGETS = torch.eye(3)[CLASSES] - 1 / 3 + 0.1 * torch.arange(18).view(6, 3) / 18


def unpacked(value: msgpack.ExtType) -> np.ndarray:
    shape, dtype, content = msgpack.unpackb(value.data)
    return np.frombuffer(content, dtype).reshape(shape)


def test_images_and_targets_come_in_and_go_out_again(tmp_path, bring, send, pixels):
    path = tmp_path / "checkpoint_15000"
    path.write_bytes(checkpoint(normalised(pixels), TARGETS))
    found = bring(path, **SAID)
    assert torch.allclose(all_pixels(found), pixels, atol=1e-6)
    assert found.labels.kind == "targets"
    assert torch.equal(found.labels.values, TARGETS)
    assert torch.equal(found.classes, CLASSES)
    assert found.metadata["network"] == "convnet:norm=none:growth=2:init=lecun"
    out = msgpack.unpackb(send(found, "frepo", "out").read_bytes())
    assert out["params"] == out["ema_average"]
    expected = normalised(pixels).movedim(1, 3)
    np.testing.assert_allclose(unpacked(out["params"]["x_proto"]), expected, atol=1e-5)
    np.testing.assert_array_equal(unpacked(out["params"]["y_proto"]), TARGETS)
    again = send(found, "kip", "kip.npz")
    np.testing.assert_array_equal(np.load(again)["labels"], TARGETS)
    assert torch.equal(bring(again, labels="targets", **SAID).labels.values, TARGETS)


def test_classes_go_out_as_targets(tmp_path, bring, send, pixels):
    (tmp_path / "checkpoint_1").write_bytes(checkpoint(normalised(pixels), TARGETS))
    found = bring(tmp_path / "checkpoint_1", labels="hard", **SAID)
    assert found.labels.kind == "hard"
    out = msgpack.unpackb(send(found, "frepo", "out").read_bytes())
    expected = torch.eye(3)[CLASSES] - 1 / 3
    np.testing.assert_allclose(unpacked(out["params"]["y_proto"]), expected, atol=1e-7)


def test_the_last_checkpoint_of_a_folder_is_taken(tmp_path, bring, pixels):
    folder = tmp_path / "run"
    folder.mkdir()
    for step in (9, 100, 20):
        content = checkpoint(normalised(pixels), TARGETS + step, "params")
        (folder / f"checkpoint_{step}").write_bytes(content)
    assert recognised(folder) == "frepo"
    found = bring(folder, **SAID)  # FRePo has no average
    assert torch.equal(found.labels.values, TARGETS + 100)


def test_the_moving_average_is_rcigs_result(tmp_path, bring, pixels):
    own = msgpack.unpackb(checkpoint(normalised(pixels), TARGETS + 1, "params"))
    path = tmp_path / "checkpoint_1"
    path.write_bytes(checkpoint(normalised(pixels), TARGETS, params=own["params"]))
    assert torch.equal(bring(path, **SAID).labels.values, TARGETS)


def test_colour_images_are_whitened_with_the_datas_unless_it_is_said(
    tmp_path, bring, make_split, monkeypatch
):
    train = make_split(each=12, shape=(3, 4, 4))
    monkeypatch.setattr(sources, "load", lambda options, split, **_: train)
    pixels = train.images[torch.tensor([0, 1, 12, 13, 24, 25])].float() / 255
    rows = train.images.movedim(1, 3).double().numpy() / 255
    rows = ((rows - rows.mean((0, 1, 2))) / rows.std((0, 1, 2))).reshape(len(train), -1)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    matrix = vectors @ np.diag((values.clip(0) + 0.1 * values.sum() / 48) ** -0.5) @ vectors.T
    chosen = rows[[0, 1, 12, 13, 24, 25]] - rows.mean(0)
    inputs = torch.from_numpy((chosen @ matrix).reshape(6, 4, 4, 3)).float().movedim(3, 1)
    path = tmp_path / "checkpoint_1"
    path.write_bytes(checkpoint(inputs, TARGETS))
    found = bring(path, data=DataOptions(name="digits", classes=NAMES))
    assert found.space.kind == found.config["data"]["space"] == "zca-relative"
    assert torch.allclose(all_pixels(found), pixels, atol=1e-4)
    assert torch.allclose(found.space.encode(all_pixels(found)), inputs, atol=1e-3)
    standard = DataOptions(name="digits", classes=NAMES, space="standard")
    said = bring(path, data=standard, trust=["pixels"])
    assert said.space.kind == said.config["data"]["space"] == "standard"


def test_images_of_one_channel_are_standardised_only(tmp_path, bring, digits, pixels):
    (tmp_path / "checkpoint_1").write_bytes(checkpoint(normalised(pixels), TARGETS))
    found = bring(tmp_path / "checkpoint_1", data=digits, trust=["pixels"])
    assert found.space.kind == "standard"


def test_28_pixels_are_padded(tmp_path, bring):
    inputs = normalised(torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    (tmp_path / "checkpoint_1").write_bytes(checkpoint(inputs, torch.eye(3)))
    assert bring(tmp_path / "checkpoint_1", **SAID).metadata["network"].endswith(":padding=3")
    named = bring(tmp_path / "checkpoint_1", network="convnet", **SAID)
    assert named.metadata["network"] == "convnet"


@pytest.mark.parametrize(
    ("content", "said", "words"),
    [
        (b"", {}, "is damaged or holds more than plain data"),
        (b"\x93NUMPY", {}, "is damaged or holds more than plain data"),
        (msgpack.packb({"params": {}}), {}, "has no entry 'x_proto'"),
        (msgpack.packb([1]), {}, "has no entry 'params'"),
        (msgpack.packb({"params": {"x_proto": 3}}), {}, "has no images"),
        (msgpack.packb({"step": msgpack.ExtType(2, b"")}), {}, "kind that is not read"),
        (None, {"labels": "logits"}, "holds targets of a regression, not logits"),
    ],
)
def test_what_is_no_such_checkpoint_is_one_line(tmp_path, bring, pixels, content, said, words):
    path = tmp_path / "checkpoint_1"
    path.write_bytes(checkpoint(pixels, TARGETS) if content is None else content)
    with pytest.raises(DdkitError, match=words) as caught:
        bring(path, **SAID, **said)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_truncated_checkpoint_is_one_line(tmp_path, bring, pixels):
    path = tmp_path / "checkpoint_1"
    path.write_bytes(checkpoint(pixels, TARGETS)[:-200])
    with pytest.raises(DdkitError, match="checkpoint_1 is damaged"):
        bring(path, **SAID)


@pytest.mark.parametrize("name", ["a.png", "checkpoint", "checkpoint_5.pt", "checkpoint_x"])
def test_other_names_are_not_taken_for_checkpoints(tmp_path, name):
    (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(DdkitError, match="give --format"):
            recognised(path)


@pytest.mark.parametrize("name", ["mtt", "apm", "hf", "imagefolder", "dd-ranking"])
def test_targets_do_not_go_out_as_logits(tmp_path, bring, send, pixels, name):
    (tmp_path / "checkpoint_1").write_bytes(checkpoint(normalised(pixels), TARGETS))
    found = bring(tmp_path / "checkpoint_1", **SAID)
    with pytest.raises(DdkitError, match="has regression targets, but the format holds logits"):
        send(found, name, "out", labels="logits")
    assert send(found, name, "out", labels="hard").exists()

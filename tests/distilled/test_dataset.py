"""The artifact: what was written comes back, in one file or many, and trains as it is."""

import json
import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch.utils.data import DataLoader

from ddkit.data.augmentation.views import draw_views
from ddkit.distilled.dataset import load
from ddkit.labels import EpochLabels, SoftLabels, joined
from ddkit.pipeline import distill as pipeline
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.synthesis.images import Synthetic, as_pixels, stored


def synthetic(low: float = 0.0, high: float = 1.0, count: int = 6) -> Synthetic:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(count, 1, 8, 8, generator=generator) * (high - low) + low
    return Synthetic(pixels, torch.arange(3).repeat_interleave(count // 3))


def epoch_labels(epochs: int = 3, count: int = 6) -> EpochLabels:
    views = [
        draw_views(count, (8, 8), torch.Generator().manual_seed(epoch)) for epoch in range(epochs)
    ]
    logits = torch.randn(epochs, count, 3, generator=torch.Generator().manual_seed(9))
    return EpochLabels(logits.half(), joined(views), temperature=4.0)


ROWS = torch.arange(6)


def refusal(path) -> str:
    with pytest.raises(DdkitError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pixels_are_stored_as_bytes_to_within_half_a_grey_value(artifact):
    images = synthetic()
    found = load(artifact(images=images))
    assert found.file["images"].dtype == torch.uint8
    error = (found.pixels(ROWS) - images.images).abs().max()
    assert error <= 1 / 510 + 1e-6
    assert found.metadata["value_range"] == [0, 255]
    assert found.image_bytes == 6 * 64


def test_values_beyond_the_range_are_stored_as_floats_without_loss(artifact):
    images = synthetic(-0.5, 1.5)
    found = load(artifact(images=images))
    assert found.file["images"].dtype == torch.float32
    assert torch.equal(found.pixels(ROWS), images.images)


def test_a_rounding_beyond_the_range_does_not_make_floats_of_bytes():
    assert stored(torch.tensor([-1e-6, 0.5, 1 + 1e-6]), "auto").tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("how", "dtype", "error"),
    [
        ("uint8", torch.uint8, 1 / 510),
        ("float16", torch.float16, 5e-4),
        ("float32", torch.float32, 0),
    ],
)
def test_the_form_may_be_asked_for(artifact, how, dtype, error):
    images = synthetic()
    found = load(artifact(images=images, store=how))
    assert found.file["images"].dtype == dtype
    assert (found.pixels(ROWS) - images.images).abs().max() <= error + 1e-6


def test_bytes_are_bytes_already():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(stored(values, "auto"), values)
    assert torch.equal(stored(as_pixels(values), "auto"), values)


def test_all_that_was_written_comes_back(artifact):
    logits = torch.randn(6, 3)
    images = Synthetic(synthetic().images, torch.tensor([2, 0, 1, 1, 0, 2]), 0.03, logits)
    path = artifact(images=images, labels=SoftLabels(torch.randn(6, 3), 20.0), seed=5)
    found = load(path)
    assert found.classes.tolist() == [2, 0, 1, 1, 0, 2]
    assert found.learning_rate == 0.03
    assert torch.equal(found.label_logits, logits)
    assert (found.labels.kind, found.labels.temperature) == ("soft", 20.0)
    assert found.class_names == ["a", "b", "c"]
    assert found.shape == (1, 8, 8)
    assert found.metadata["config"]["seed"] == 5
    assert found.metadata["versions"]["torch"] == torch.__version__
    again = found.synthetic()
    assert torch.equal(again.images, found.file["images"])
    assert (again.learning_rate, len(again)) == (0.03, 6)


def test_learned_label_logits_may_be_the_labels_themselves(artifact):
    logits = torch.randn(6, 3)
    images = Synthetic(synthetic().images, synthetic().classes, 0.03, logits)
    found = load(artifact(images=images, labels=SoftLabels(logits)))
    assert torch.equal(found.labels.targets(ROWS, 0), logits)
    assert torch.equal(found.label_logits, logits)


def test_the_header_is_one_json_value_that_others_can_read(artifact):
    with safe_open(artifact(), framework="pt") as file:
        header = file.metadata()
    assert list(header) == ["ddkit"]
    assert json.loads(header["ddkit"])["format"] == "ddkit.distilled"


@pytest.mark.parametrize("labels", [None, SoftLabels(torch.randn(6, 3), 2.0), epoch_labels()])
def test_items_are_network_inputs_and_labels(artifact, labels):
    found = load(artifact(images=synthetic(), labels=labels))
    found.epoch = 1
    inputs, targets = found.inputs(ROWS)
    assert inputs.dtype == torch.float32
    if labels is None or labels.kind == "soft":
        torch.testing.assert_close(inputs, found.space.encode(found.pixels(ROWS)))
    for row in range(6):
        image, label = found[row]
        assert torch.equal(image, inputs[row])
        if labels is None:
            assert label == targets[row] == found.classes[row]
        else:
            assert torch.equal(label, F.softmax(targets[row], 0))
    assert len(list(found)) == len(found) == 6


@pytest.mark.parametrize("part_bytes", [1, 64, 2 * 64, 4 * 64])
@pytest.mark.parametrize("labels", [None, epoch_labels()], ids=["hard", "epoch"])
def test_several_image_files_are_as_good_as_one(artifact, part_bytes, labels):
    one = load(artifact("one.safetensors", images=synthetic(), labels=labels))
    path = artifact("many.safetensors", images=synthetic(), labels=labels, part_bytes=part_bytes)
    many = load(path)
    count = -(-6 // max(1, part_bytes // 64))
    assert len(list(path.parent.glob("many-*-of-*.safetensors"))) == count
    assert "images" not in TensorFile(path)
    assert (many.shape, many.image_bytes, len(many)) == (one.shape, one.image_bytes, 6)
    assert torch.equal(many.synthetic().images, one.synthetic().images)
    for rows in (ROWS, torch.tensor([5, 0, 3, 3]), torch.tensor([1])):
        assert torch.equal(many.pixels(rows), one.pixels(rows))
        for epoch in (0, 2):
            ours, theirs = many.inputs(rows, epoch), one.inputs(rows, epoch)
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_missing_image_file_is_refused_by_name(artifact):
    path = artifact("many.safetensors", part_bytes=64)
    gone = path.with_name("many-00002-of-00006.safetensors")
    gone.unlink()
    assert refusal(path) == f"no such file: {gone}"


@pytest.mark.parametrize("labels", [None, epoch_labels()], ids=["hard", "epoch"])
def test_torchs_loader_trains_on_it(artifact, labels):
    found = load(artifact(images=synthetic(), labels=labels))
    generator = torch.Generator().manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    seen = 0
    for epoch in range(2):
        found.epoch = epoch
        for images, targets in DataLoader(found, 4, shuffle=True, generator=generator):
            assert images.shape[1:] == (1, 8, 8)
            F.cross_entropy(network(images), targets).backward()
            seen += len(images)
    assert seen == 12


def test_it_can_be_sent_to_the_loaders_worker_processes(artifact):
    found = load(artifact(images=synthetic()))
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own bytes
    assert torch.equal(again.pixels(ROWS), found.pixels(ROWS))


def test_a_run_folder_may_be_named_instead_of_its_file(artifact, tmp_path):
    artifact("distilled.safetensors")
    assert len(load(tmp_path)) == len(load(str(tmp_path / "distilled.safetensors"))) == 6


def test_a_missing_and_a_truncated_artifact_are_refused(artifact, tmp_path):
    assert refusal(tmp_path / "no.safetensors") == f"no such file: {tmp_path / 'no.safetensors'}"
    path = artifact()
    path.write_bytes(path.read_bytes()[:-50])
    assert refusal(path).startswith(f"{path} is not a complete safetensors file (")


def test_another_file_of_ddkit_is_refused(tmp_path):
    path = tmp_path / "pool.safetensors"
    write_tensors(path, {"a": torch.zeros(3)}, {"members": []})
    assert refusal(path) == f"{path} is a ddkit file, but not a distilled set"


def test_an_artifact_of_a_newer_version_is_refused(artifact):
    path = artifact()
    file = TensorFile(path)
    tensors = {name: tensor.clone() for name, tensor in file.read().items()}
    write_tensors(path, tensors, {**file.metadata, "format_version": 4})
    assert refusal(path) == f"{path} was written by a newer ddkit: update yours"


def config(run, **fields):
    return run(**{"init": "real", "network": "convnet:depth=1:width=4", **fields}).config


def test_the_same_run_gives_the_same_bytes(run, data, tmp_path):
    paths = [pipeline.distill(config(run), tmp_path / name) for name in "ab"]
    other = pipeline.distill(config(run, seed=1), tmp_path / "c")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes() != other.read_bytes()


@pytest.mark.parametrize("space", ["standard", "zca", "unit"])
def test_random_real_images_are_the_pixels_of_the_training_set(run, data, tmp_path, space):
    chosen = config(run, data={"name": "digits", "space": space})
    found = load(pipeline.distill(chosen, tmp_path / space))
    train = data["train"]
    for pixels, label in zip(found.synthetic().images, found.classes, strict=True):
        if space == "zca":  # whitening and back rounds
            distance = (pixels.float() - train.images[train.labels == label].float()).abs()
            assert distance.flatten(1).max(1).values.min() <= 1
        else:
            assert (pixels == train.images[train.labels == label]).flatten(1).all(1).any()


def test_a_folder_that_holds_another_run_is_refused(run, data, tmp_path):
    pipeline.distill(config(run), tmp_path / "a")
    with pytest.raises(DdkitError, match="holds another run"):
        pipeline.distill(config(run, seed=1), tmp_path / "a")
    path = pipeline.distill(config(run, seed=1), tmp_path / "a", overwrite=True)
    assert load(path).metadata["config"]["seed"] == 1


def test_a_folder_with_other_files_is_never_overwritten(run, data, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("precious")
    with pytest.raises(DdkitError, match="holds files that are not a ddkit run"):
        pipeline.distill(config(run), tmp_path / "a", overwrite=True)
    assert (tmp_path / "a" / "thesis.tex").read_text() == "precious"


def test_a_run_that_died_before_its_labels_ends_in_the_same_bytes(run, data, tmp_path, monkeypatch):
    whole = pipeline.distill(config(run), tmp_path / "whole")

    class KilledError(Exception):
        pass

    def die(*arguments):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "relabel_into", die)
        with pytest.raises(KilledError):
            pipeline.distill(config(run), tmp_path / "killed")
    again = pipeline.distill(config(run), tmp_path / "killed")
    assert again.read_bytes() == whole.read_bytes()

"""Layouts of tensors: what a tool's own code would have saved comes in, and goes out again.

Files are written here as the tools document them, never by ddkit's exporter.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddkit.data.sources import load as sources
from ddkit.pipeline import evaluate as comparison
from ddkit.runtime.progress import Silent
from tests.distilled.interop.conftest import MEAN, NAMES, STD, all_pixels, normalised

CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
SAID = {"classes": NAMES, "mean": MEAN, "std": STD}


def close(found, expected, tolerance=1e-6) -> bool:
    return torch.allclose(found, expected, atol=tolerance, rtol=0)


def save_dc(path, pixels, labels=CLASSES) -> None:
    """DC appends each repetition's set, and its accuracies are numpy's numbers."""
    accuracies = {"ConvNet": [np.float64(0.5), np.int64(3)], "MLP": []}
    data = [[torch.zeros_like(pixels), labels.flip(0)], [normalised(pixels), labels]]
    torch.save({"data": data, "accs_all_exps": accuracies}, path)


def test_dc_gives_its_last_repetition(tmp_path, bring, send, pixels):
    path = tmp_path / "res_DC_CIFAR10_ConvNet_2ipc.pt"
    save_dc(path, pixels)
    found = bring(path, **SAID)
    assert close(all_pixels(found), pixels)
    assert torch.equal(found.classes, CLASSES)
    assert found.labels.kind == "hard"
    assert found.class_names == ["0", "1", "2"]
    assert close(found.space.mean, torch.tensor(MEAN))
    assert found.metadata["imported"] == {"format": "dc", "name": path.name}
    images, labels = torch.load(send(found, "dc", "out.pt"), weights_only=True)["data"][-1]
    assert close(images, normalised(pixels), 1e-5)
    assert torch.equal(labels, CLASSES)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_mtts_pair_with_soft_labels_and_a_rate(tmp_path, bring, send, pixels, logits, kind):
    folder = tmp_path / "logged"
    folder.mkdir()
    labels = logits if kind == "logits" else logits.softmax(1)
    torch.save(normalised(pixels), folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    torch.save(torch.tensor(0.03), folder / "lr_best.pt")
    found = bring(folder, labels=kind, **SAID)
    assert close(all_pixels(found), pixels)
    assert torch.equal(found.classes, CLASSES)
    assert found.learning_rate == pytest.approx(0.03)
    assert close(found.labels.logits.softmax(1), logits.softmax(1))
    if kind == "logits":
        assert torch.equal(found.labels.logits, logits)
    out = send(found, "mtt", "out", labels=kind)
    assert close(torch.load(out / "images_best.pt"), normalised(pixels), 1e-5)
    assert close(torch.load(out / "labels_best.pt"), labels)
    assert float(torch.load(out / "lr_best.pt")) == pytest.approx(0.03)
    again = bring(out, labels=kind, **SAID)
    assert close(all_pixels(again), pixels)


def test_mtts_hard_labels_need_no_word(tmp_path, bring, pixels):
    torch.save(normalised(pixels), tmp_path / "images_5000.pt")
    torch.save(CLASSES, tmp_path / "labels_5000.pt")
    found = bring(tmp_path / "images_5000.pt", learning_rate=0.5, **SAID)
    assert found.labels.kind == "hard"
    assert found.learning_rate == 0.5


def test_a_probability_of_zero_stays_as_good_as_zero(tmp_path, bring, pixels):
    torch.save(normalised(pixels), tmp_path / "images_best.pt")
    torch.save(F.one_hot(CLASSES, 3).float(), tmp_path / "labels_best.pt")
    found = bring(tmp_path / "images_best.pt", labels="probabilities", **SAID)
    assert found.labels.logits.isfinite().all()
    assert close(found.labels.logits.softmax(1), F.one_hot(CLASSES, 3).float(), 1e-20)


@pytest.fixture
def whitened(tmp_path, digits, pixels):
    """Write MTT's files of a run with ZCA, the whitening computed here in float64."""
    train = sources.load(digits, "train").images.flatten(1).double().numpy() / 255
    values, vectors = np.linalg.eigh(np.cov(train.T))
    matrix = vectors @ np.diag((values.clip(0) + 0.1) ** -0.5) @ vectors.T
    rows = (pixels.flatten(1).double().numpy() - train.mean(0)) @ matrix
    torch.save(torch.from_numpy(rows).float().view_as(pixels), tmp_path / "images_best.pt")
    torch.save(CLASSES, tmp_path / "labels_best.pt")
    return tmp_path


def test_whitened_images_become_pixels_with_the_datas_zca(whitened, bring, send, digits, pixels):
    said = digits.model_copy(update={"space": "zca"})
    found = bring(whitened, data=said)
    assert found.space.kind == "zca"
    assert close(all_pixels(found), pixels, 1e-4)
    out = send(found, "mtt", "out")
    inputs = torch.load(whitened / "images_best.pt")
    assert close(torch.load(out / "images_best.pt"), inputs, 1e-3)
    assert close(torch.load(out / "images_zca_best.pt"), pixels, 1e-4)


def test_the_pixels_beside_whitened_images_are_taken_as_they_are(whitened, bring, digits, pixels):
    torch.save(pixels, whitened / "images_zca_best.pt")
    found = bring(whitened, data=digits.model_copy(update={"space": "zca"}))
    assert torch.equal(all_pixels(found), pixels)


def test_apms_labels_are_logits(tmp_path, bring, send, pixels, logits):
    saved = {"data": [normalised(pixels), logits], "accs_all_exps": {"ConvNet": [0.4]}}
    torch.save(saved, tmp_path / "a.pt")
    found = bring(tmp_path / "a.pt", format="apm", **SAID)
    assert close(all_pixels(found), pixels)
    assert torch.equal(found.labels.logits, logits)
    assert torch.equal(found.classes, CLASSES)
    images, labels = torch.load(send(found, "apm", "out.pt"), weights_only=True)["data"]
    assert close(images, normalised(pixels), 1e-5)
    assert torch.equal(labels, logits)


@pytest.mark.parametrize(("factor", "side"), [(1, 8), (2, 8), (3, 8)])
def test_idcs_images_fall_into_their_parts(tmp_path, bring, pixels, factor, side):
    torch.save([pixels, CLASSES], tmp_path / "data_best.pt")
    found = bring(tmp_path / "data_best.pt", format="idc", factor=factor, **SAID)
    small = -(-side // factor)
    padded = torch.full((6, 1, small * factor, small * factor), 0.5)
    padded[:, :, :side, :side] = pixels
    expected, classes = [], []
    for image, label in zip(padded, CLASSES, strict=True):
        for row in range(factor):
            for column in range(factor):
                part = image[:, row * small :, column * small :][:, :small, :small]
                enlarge = torch.nn.Upsample(size=side, mode="bilinear")
                expected.append(enlarge(part[None])[0] if factor > 1 else part)
                classes.append(int(label))
    assert close(all_pixels(found), torch.stack(expected))
    assert found.classes.tolist() == classes


@pytest.mark.parametrize("factor", [1, 2])
def test_idcs_images_go_out_as_they_came(tmp_path, bring, send, pixels, factor):
    """A file as IDC's and NCFM's code write it, stored images and their classes, comes back."""
    torch.save([pixels, CLASSES], tmp_path / "data_best.pt")
    found = bring(tmp_path / "data_best.pt", format="idc", factor=factor, **SAID)
    assert found.factor == factor
    images, classes = torch.load(send(found, "idc", "out.pt"), weights_only=True)
    order = CLASSES.argsort(stable=True)
    assert close(images, pixels[order])
    assert torch.equal(classes, CLASSES[order])


def test_idcs_images_are_evaluated_with_their_factor(tmp_path, bring, pixels, digits):
    """Networks train on the parts, beside random images that take as many bytes."""
    torch.save([pixels, CLASSES], tmp_path / "data_best.pt")
    found = bring(tmp_path / "data_best.pt", format="idc", factor=2, data=digits)
    ours, random = comparison.compare(
        found.file.path,
        protocols=["plain"],
        networks=["convnet:depth=1:width=4"],
        seeds=[0],
        recipe={"epochs": 1},
        real=False,
        progress=Silent(),
    )
    assert (ours.title, random.title) == (
        "imported, factor 2",
        "random real images, factor 2",
    )
    assert ours.image_bytes == pixels.nbytes
    assert random.image_bytes == pixels.numel()  # bytes, as real images are


def test_other_layouts_hold_the_training_images(tmp_path, bring, send, pixels):
    torch.save([pixels, CLASSES], tmp_path / "data_best.pt")
    found = bring(tmp_path / "data_best.pt", format="idc", factor=2, **SAID)
    images, classes = torch.load(send(found, "dc", "out.pt"), weights_only=True)["data"][0]
    assert len(images) == 4 * len(pixels)
    assert torch.equal(classes, found.classes[found.classes.argsort(stable=True)])


def test_kips_arrays_have_their_channels_last(tmp_path, bring, send, pixels, logits):
    images = normalised(pixels).movedim(1, 3).numpy()
    np.savez(tmp_path / "kip.npz", images=images, labels=logits.double().numpy())
    found = bring(tmp_path / "kip.npz", labels="logits", **SAID)
    assert close(all_pixels(found), pixels)
    assert torch.equal(found.labels.logits, logits)
    arrays = np.load(send(found, "kip", "out.npz", labels="logits"))
    assert np.allclose(arrays["images"], images, atol=1e-5)
    assert np.array_equal(arrays["labels"], logits.numpy())


def test_kips_targets_may_be_taken_as_classes(tmp_path, bring, send, pixels):
    targets = F.one_hot(CLASSES, 3).double().numpy() - 1 / 3
    images = np.asfortranarray(normalised(pixels).movedim(1, 3).numpy())
    np.savez_compressed(tmp_path / "kip.npz", images=images, labels=targets)
    found = bring(tmp_path / "kip.npz", labels="hard", **SAID)
    assert torch.equal(found.classes, CLASSES)
    assert close(all_pixels(found), pixels)
    assert np.allclose(np.load(send(found, "kip", "out.npz"))["labels"], targets)


def test_the_challenges_tensor_is_class_by_class(tmp_path, bring, send, pixels):
    torch.save(normalised(pixels), tmp_path / "cifar100.pt")
    found = bring(tmp_path / "cifar100.pt", **SAID)
    assert close(all_pixels(found), pixels)
    assert torch.equal(found.classes, CLASSES)
    assert close(torch.load(send(found, "eccv24", "out.pt")), normalised(pixels), 1e-5)


def test_dd_rankings_inputs(tmp_path, bring, send, pixels, logits):
    folder = tmp_path / "scored"
    folder.mkdir()
    torch.save(normalised(pixels), folder / "images.pt")
    torch.save(logits, folder / "soft_labels.pt")
    torch.save(torch.tensor([0.02]), folder / "syn_lr.pt")
    found = bring(folder, **SAID)
    assert close(all_pixels(found), pixels)
    assert torch.equal(found.labels.logits, logits)
    assert found.learning_rate == pytest.approx(0.02)
    out = send(found, "dd-ranking", "out")
    assert close(torch.load(out / "images.pt"), normalised(pixels), 1e-5)
    assert torch.equal(torch.load(out / "soft_labels.pt"), logits)
    lines = (out / "config.yaml").read_text().splitlines()
    assert {"ipc: 2", "im_size: [8, 8]", "use_zca: false"} <= set(lines)


def test_an_export_lies_class_by_class(tmp_path, bring, send, pixels):
    shuffled = torch.tensor([2, 0, 1, 0, 2, 1])
    save_dc(tmp_path / "res_DM_x_ConvNet_2ipc.pt", pixels, shuffled)
    found = bring(tmp_path / "res_DM_x_ConvNet_2ipc.pt", **SAID)
    out = send(found, "dd-ranking", "out")
    assert torch.load(out / "hard_labels.pt").tolist() == [0, 0, 1, 1, 2, 2]
    order = [1, 3, 2, 5, 0, 4]
    assert close(torch.load(out / "images.pt"), normalised(pixels[order]), 1e-5)


def test_pixels_on_the_grid_of_bytes_are_stored_as_bytes(tmp_path, bring, pixels):
    grid = (pixels * 255).round() / 255
    save_dc(tmp_path / "res_DC_x_ConvNet_2ipc.pt", grid)
    found = bring(tmp_path / "res_DC_x_ConvNet_2ipc.pt", **SAID)
    assert found.file["images"].dtype == torch.uint8
    assert torch.equal(found.file["images"], (pixels * 255).round().to(torch.uint8))
    asked = bring(tmp_path / "res_DC_x_ConvNet_2ipc.pt", store="float16", **SAID)
    assert asked.file["images"].dtype == torch.float16


def test_values_beyond_the_valid_range_are_kept(tmp_path, bring, pixels):
    wide = pixels * 3 - 1
    save_dc(tmp_path / "res_DC_x_ConvNet_2ipc.pt", wide)
    found = bring(tmp_path / "res_DC_x_ConvNet_2ipc.pt", **SAID)
    assert found.file["images"].dtype == torch.float32
    assert close(all_pixels(found), wide, 1e-5)


@pytest.mark.parametrize("soft", [False, True])
def test_an_imported_set_is_evaluated_on_its_data(tmp_path, bring, digits, pixels, logits, soft):
    torch.save(normalised(pixels), tmp_path / "images_best.pt")
    torch.save(logits if soft else CLASSES, tmp_path / "labels_best.pt")
    found = bring(tmp_path, labels="logits" if soft else None, data=digits, mean=MEAN, std=STD)
    rows = comparison.compare(
        found.file.path,
        protocols=None,
        networks=["convnet:depth=1:width=4"],
        seeds=[0],
        recipe={"epochs": 2},
        real=False,
        progress=Silent(),
    )
    told = [(row.title, row.evaluation.protocol, row.evaluation.labels) for row in rows]
    assert told[:2] == [("imported", "dsa", "hard"), ("random real images", "dsa", "hard")]
    # nobody here knows who labelled them, so nothing fair can stand beside soft labels
    assert told[2:] == ([("imported", "soft", "soft")] if soft else [])
    assert rows[0].over_random is not None

"""How labels are stored: codecs against sums by hand, views from seeds, artifacts of every form."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from ddkit.data.augmentation.views import draw_views, render
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import protocol_for
from ddkit.evaluation.training import train_on
from ddkit.labels import DrawnViews, EpochLabels, HardLabels, SoftLabels, joined
from ddkit.labels.codecs import Int8, TopK
from ddkit.labels.coded import Coded, encoded
from ddkit.labels.converting import in_form, loss_of, with_epochs
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.seeds import generator
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.synthesis.images import Synthetic

COUNT, CLASSES, EPOCHS, T = 6, 5, 4, 4.0
ROWS = torch.arange(COUNT)
FORMS = ("fp16", "int8", "top-k:2")


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(count: int = COUNT, seed: int = 7) -> DrawnViews:
    return DrawnViews(seed, count, (8, 8), (0.3, 1.0), True, "cutmix")


def epoch_labels(form: str = "fp16", views: str = "seed") -> EpochLabels:
    stored = encoded(logits(EPOCHS, COUNT, CLASSES).half(), form, T)
    labels = EpochLabels(stored, drawn(), T)
    return labels if views == "seed" else replace(labels, views=labels.written_down())


def soft_labels(form: str = "fp16") -> SoftLabels:
    return SoftLabels(encoded(logits(COUNT, CLASSES).half(), form, T), T)


def images() -> Synthetic:
    pixels = torch.rand(COUNT, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Synthetic(pixels, torch.tensor([0, 0, 1, 1, 2, 2]))


def divergence(p: torch.Tensor, q: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL of softened distributions, row by row, in float64."""
    p, q = (F.log_softmax(each.double() / temperature, -1) for each in (p, q))
    return (p.exp() * (p - q)).sum(-1)


def refusal(call, *arguments) -> str:
    with pytest.raises(DdkitError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# int8


def test_bytes_by_hand():
    # from 0 to 254 in steps of 1 and a bit: the middle, 127, is code 0
    parts = Int8().encode(torch.tensor([[0.0, 127.0, 254.0, 63.0]]), T)
    assert parts["codes"].dtype == torch.int8
    assert parts["codes"].tolist() == [[-127, 0, 127, -64]]
    assert parts["step"].item() == pytest.approx(1, rel=2e-3)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 50.0, 1e4])
def test_a_logit_is_off_by_half_a_step_at_most_up_to_a_constant(scale):
    vectors = scale * logits(500, CLASSES)
    parts = Int8().encode(vectors, T)
    back = Int8().decode(parts, CLASSES).double()
    middle = (vectors.amin(1) + vectors.amax(1)).double() / 2
    error = (back - (vectors.double() - middle.unsqueeze(1))).abs().amax(1)
    assert (error <= parts["step"].double() / 2 + 1e-6 * scale).all()
    span = (vectors.amax(1) - vectors.amin(1)).double()
    assert (parts["step"].double() <= span / 254 * 1.002 + 2**-23).all()


def test_the_distribution_of_bytes_is_close():
    vectors = logits(500, CLASSES)
    back = Coded(Int8(), Int8().encode(vectors, T), CLASSES).float()
    half = Int8().encode(vectors, T)["step"].double() / 2
    # logits moved by at most h move the distribution by less than h² nats
    assert (divergence(vectors, back, 1.0) <= half**2).all()
    assert divergence(vectors, back, 1.0).max() < 1e-3


def test_equal_logits_stay_equal():
    parts = Int8().encode(torch.full((2, CLASSES), 7.5), T)
    assert Int8().decode(parts, CLASSES).unique().numel() == 1


# top-k


def test_top_1_by_hand():
    # T = 2: e^(r/2) = (e¹ + e⁰) / 2, so r = 1.240, and 4 is 2.760 above it
    level = 2 * math.log((math.e + 1) / 2)
    parts = TopK(1).encode(torch.tensor([[0.0, 4.0, 2.0]]), 2.0)
    assert parts["classes"].tolist() == [[1]]
    assert parts["values"].item() == pytest.approx(4 - level, abs=1e-3)
    back = TopK(1).decode(parts, 3)
    assert back.tolist() == [[0, pytest.approx(4 - level, abs=1e-3), 0]]


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_largest_keep_their_probability_and_the_others_share_the_rest(k, temperature):
    vectors = logits(200, CLASSES)
    back = TopK(k).decode(TopK(k).encode(vectors, temperature), CLASSES)
    before, after = ((each / temperature).softmax(1) for each in (vectors, back))
    for row in range(200):
        largest = set(vectors[row].argsort(descending=True)[:k].tolist())
        left = 1 - sum(float(before[row, c]) for c in largest)
        for c in range(CLASSES):
            expected = float(before[row, c]) if c in largest else left / (CLASSES - k)
            assert float(after[row, c]) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("classes", "kind"), [(256, torch.uint8), (257, torch.int16), (40_000, torch.int32)]
)
def test_classes_are_as_small_as_they_can_be(classes, kind):
    vectors = torch.zeros(1, classes)
    vectors[0, -1] = 9.0
    parts = TopK(2).encode(vectors, 1.0)
    assert parts["classes"].dtype == kind
    assert TopK(2).decode(parts, classes).argmax() == classes - 1


def test_a_k_that_leaves_nothing_out_is_refused():
    assert refusal(encoded, logits(2, 3), "top-k:3", T) == (
        "top-k:3 of 3 classes leaves none out: choose a smaller K, or int8"
    )


# coded logits


@pytest.mark.parametrize("form", ["int8", "top-k:2"])
def test_coded_logits_are_picked_like_a_tensors(form):
    plain = logits(EPOCHS, COUNT, CLASSES)
    coded = encoded(plain, form, T)
    assert (coded.shape, len(coded)) == (plain.shape, EPOCHS)
    rows = torch.tensor([4, 0, 4])
    whole = coded.float()
    assert torch.equal(coded[2][rows].float(), whole[2, rows])
    assert torch.equal(coded[1:].float(), whole[1:])
    each = torch.stack([encoded(plain[e], form, T).float() for e in range(EPOCHS)])
    assert torch.equal(whole, each)


def test_logits_in_their_own_form_stay_as_they_are():
    half = logits(COUNT, CLASSES).half()
    assert encoded(half, "fp16", T) is half
    labels = epoch_labels("int8")
    assert in_form(labels, "auto").logits is labels.logits
    assert in_form(labels, "int8").logits is labels.logits


# epochs and views


@pytest.mark.parametrize("views", ["seed", "stored"])
@pytest.mark.parametrize("form", FORMS)
def test_labels_of_fewer_epochs_start_over_earlier(form, views):
    labels = epoch_labels(form, views)
    kept = with_epochs(labels, 2)
    assert kept.epochs == 2
    assert kept.bytes == pytest.approx(labels.bytes / 2, abs=2)
    pixels = images().images
    for epoch in range(5):
        seen, targets = kept.batch(pixels, ROWS, epoch)
        expected, wanted = labels.batch(pixels, ROWS, epoch % 2)
        assert torch.equal(seen, expected)
        assert torch.equal(targets, wanted)


@pytest.mark.parametrize("epochs", [0, -1, EPOCHS + 1])
def test_epochs_that_are_not_there_cannot_be_kept(epochs):
    line = refusal(with_epochs, epoch_labels(), epochs)
    assert line == f"there are labels of {EPOCHS} epochs: {epochs} cannot be kept"


def test_labels_that_are_one_per_image_have_no_epochs_to_leave_out():
    assert "the same in every epoch" in refusal(with_epochs, soft_labels(), 1)


def test_views_from_a_seed_are_those_that_draw_views_draws():
    for epoch in (0, 3):
        expected = draw_views(
            COUNT, (8, 8), generator(7, "label views", epoch), scale=(0.3, 1.0), flip=True
        )
        found = drawn().of(epoch)
        for name in ("crop", "flip", "partner", "box", "weight"):
            assert torch.equal(getattr(found, name), getattr(expected, name))


def test_views_written_down_are_those_that_were_drawn():
    labels = epoch_labels()
    pixels = images().images
    written = in_form(labels, "auto", "stored")
    assert written.view_bytes == EPOCHS * COUNT * 33 + 2
    assert labels.view_bytes == 0
    order = torch.tensor([5, 1, 3])
    for epoch in (3, 0, 5):
        expected = render(pixels, drawn().of(epoch % EPOCHS), order)
        assert torch.equal(written.view(pixels, order, epoch), expected)
        assert torch.equal(labels.view(pixels, order, epoch), expected)


def test_views_that_come_out_otherwise_are_refused():
    wrong = replace(drawn(), check=drawn().checksum * (1 + 1e-4))
    line = refusal(wrong.of, 0)
    assert "come out differently here" in line
    assert "--label-views stored" in line
    near = replace(drawn(), check=drawn().checksum * (1 + 1e-7))
    assert torch.equal(near.of(2).crop, drawn().of(2).crop)


def test_other_draws_have_another_checksum():
    for count in (2, 1000):
        own = drawn(count, 0).checksum
        others = [drawn(count, seed).checksum for seed in range(1, 20)]
        assert min(abs(other / own - 1) for other in others) > 1e-4


def test_views_that_were_written_down_have_no_seed():
    assert "no seed" in refusal(in_form, epoch_labels(views="stored"), "auto", "seed")


def test_what_is_no_recipe_cannot_become_one():
    assert "are not a recipe" in refusal(in_form, soft_labels(), "recipe")


def test_hard_labels_have_one_form():
    labels = HardLabels(torch.arange(3))
    assert in_form(labels, "int8") is labels


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("fp16", "int8", "255 levels"),
        ("fp16", "top-k:2", "share one level"),
        ("int8", "fp16", "no more exact than the int8"),
        ("top-k:2", "int8", "no more exact than the top-k:2"),
        ("int8", "int8", ""),
        ("fp16", "fp16", ""),
    ],
)
def test_what_is_lost_is_said(before, after, words):
    labels = epoch_labels(before)
    said = loss_of(labels, in_form(labels, after))
    assert words in said
    assert bool(said) == bool(words)
    assert "2 of 4 epochs are left out" in loss_of(labels, with_epochs(labels, 2))


# the artifact

ALL = [soft_labels(form) for form in FORMS] + [
    epoch_labels(form, views) for form in FORMS for views in ("seed", "stored")
]


@pytest.fixture
def five(artifact, make_split):
    """Write an artifact of five classes with these labels."""

    def make(labels, name: str = "set.safetensors") -> Path:
        split = make_split(classes=CLASSES)
        return artifact(name, images=images(), labels=labels, train=split)

    return make


@pytest.mark.parametrize("labels", ALL, ids=lambda each: f"{each.kind}-{each.form}")
def test_every_form_comes_back_from_the_artifact(five, labels):
    found = load(five(labels))
    assert (found.labels.kind, found.labels.form) == (labels.kind, labels.form)
    assert (found.labels.bytes, found.labels.view_bytes) == (labels.bytes, labels.view_bytes)
    assert (found.labels.epochs, found.labels.temperature) == (labels.epochs, T)
    for epoch in (0, 3, 6):
        seen, targets = found.labels.batch(found.pixels, ROWS, epoch)
        expected, wanted = labels.batch(found.pixels, ROWS, epoch)
        assert torch.equal(seen, expected)
        assert torch.equal(targets, wanted)


@pytest.mark.parametrize("labels", ALL, ids=lambda each: f"{each.kind}-{each.form}")
def test_bytes_are_those_of_the_file(five, labels):
    vector = {"fp16": 2 * CLASSES, "int8": CLASSES + 2, "top-k:2": 2 * (1 + 2)}[labels.form]
    expected = labels.epochs * COUNT * vector
    if isinstance(labels, EpochLabels) and labels.views_are_stored:
        expected += labels.epochs * COUNT * (16 + 1 + 4 + 8 + 4) + 2
    assert labels.bytes == expected
    path = five(labels)
    hard = five(HardLabels(images().classes), "hard.safetensors")
    header = [int.from_bytes(each.read_bytes()[:8], "little") for each in (path, hard)]
    assert path.stat().st_size - header[0] - (hard.stat().st_size - header[1]) == expected


def test_only_what_an_older_ddkit_cannot_read_has_a_newer_format(five):
    versions = {
        "old": load(five(epoch_labels("fp16", "stored"))).metadata["format_version"],
        "drawn": load(five(epoch_labels())).metadata["format_version"],
        "coded": load(five(soft_labels("int8"))).metadata["format_version"],
        "hard": load(five(HardLabels(images().classes))).metadata["format_version"],
    }
    assert versions == {"old": 1, "drawn": 2, "coded": 2, "hard": 1}


def test_an_artifact_of_the_first_format_still_loads(five, tmp_path):
    about = dict(TensorFile(five(HardLabels(images().classes))).metadata)
    about |= {"format_version": 1, "labels": {"kind": "epoch", "temperature": T}}
    views = [draw_views(COUNT, (8, 8), torch.Generator().manual_seed(e)) for e in range(2)]
    both = joined(views)
    half = logits(2, COUNT, CLASSES).half()
    tensors = {
        "classes": images().classes,
        "images": (images().images * 255).round().byte(),
        "space.mean": torch.tensor([0.5]),
        "space.std": torch.tensor([0.2]),
        "labels.logits": half,
        "labels.views.crop": both.crop,
        "labels.views.flip": both.flip,
        "labels.views.partner": both.partner.int(),
        "labels.views.box": both.box.short(),
        "labels.views.weight": both.weight,
        "labels.views.mix": torch.tensor([1], dtype=torch.int16),
    }
    write_tensors(tmp_path / "first.safetensors", tensors, about)
    found = load(tmp_path / "first.safetensors")
    for epoch in range(3):
        inputs, targets = found.inputs(ROWS, epoch)
        seen = render(found.pixels(ROWS), views[epoch % 2], ROWS)
        torch.testing.assert_close(inputs, (seen - 0.5) / 0.2)
        assert torch.equal(targets, half[epoch % 2].float())


@pytest.mark.parametrize("labels", [epoch_labels("int8"), epoch_labels("top-k:2", "stored")])
def test_loaders_with_worker_processes_see_image_and_label_alike(five, labels):
    found = load(five(labels))
    for epoch in (1, EPOCHS):
        found.epoch = epoch
        inputs, targets = found.inputs(ROWS)
        order = torch.tensor([3, 1, 5, 0, 2, 4])
        loader = DataLoader(found, 2, sampler=order.tolist(), num_workers=2)
        served = [torch.cat(parts) for parts in zip(*loader, strict=True)]
        assert torch.equal(served[0], inputs[order])
        torch.testing.assert_close(served[1], targets[order].softmax(1))


def own_memory() -> int:
    """Return the bytes of this process beside those of mapped files, which can be dropped."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1])


@pytest.mark.parametrize("views", ["seed", "stored"])
def test_the_labels_of_a_large_set_stay_in_their_file(artifact, views):
    count, epochs, classes = 3000, 300, 3
    labels = EpochLabels(
        encoded(torch.zeros(epochs, count, classes).half(), "int8", T), drawn(count), T
    )
    if views == "stored":
        one = drawn(count).of(0)
        labels = replace(labels, views=joined([one] * epochs))
    pixels = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    path = artifact(images=Synthetic(pixels, torch.arange(count) % classes), labels=labels)
    size = path.stat().st_size
    del labels
    drawn(count).of(0)
    before = own_memory()
    found = load(path)
    for epoch in (0, 100):
        found.labels.to(torch.device("cpu")).batch(found.pixels, torch.arange(64), epoch)
    assert own_memory() - before < max(size // 8, 3_000_000)


def test_l1_is_no_protocol_for_labels_without_a_constant(five):
    found = load(five(soft_labels("int8")))
    protocol = protocol_for("l1").with_recipe(epochs=1)
    network = "convnet:depth=1:width=4"
    line = refusal(train_on, found, protocol, network, 0, torch.device("cpu"))
    assert "labels stored as int8" in line
    train_on(load(five(soft_labels())), protocol, network, 0, torch.device("cpu"))


@pytest.mark.parametrize(
    ("labels", "change", "about", "words"),
    [
        ("int8", {"labels.logits.step": None}, {}, "do not match its images"),
        ("int8", {"labels.logits.step": torch.ones(EPOCHS, COUNT)}, {}, "do not match its images"),
        (
            "top-k:2",
            {"labels.logits.classes": torch.full((EPOCHS, COUNT, 2), 9).byte()},
            {},
            "do not match its images",
        ),
        ("int8", {}, {"form": "int3"}, "an unknown form"),
        ("int8", {}, {"form": 8}, "an unknown form"),
        ("int8", {}, {"classes": 9}, "for other classes"),
        ("fp16", {}, {"views": {"seed": 1}}, "cannot be drawn again"),
        ("fp16", {}, {"views": "seed"}, "cannot be drawn again"),
        (
            "fp16",
            {},
            {"views": drawn(COUNT + 1).about() | {"size": [8, 8], "scale": [0.3, 1]}},
            "cannot be drawn again",
        ),
        ("fp16", {}, {"kind": "recipe"}, "its recipe for labels must name a pool"),
        (
            "fp16",
            {},
            {
                "kind": "recipe",
                "epochs": 3,
                "ensemble": {
                    "pool": "../elsewhere",
                    "fingerprint": "",
                    "members": [0],
                    "average": "logits",
                },
            },
            "its recipe for labels must name a pool",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(five, labels, change, about, words):
    path = five(epoch_labels(labels))
    file = TensorFile(path)
    tensors = {name: tensor.clone() for name, tensor in file.read().items()} | change
    metadata = {**file.metadata, "labels": {**file.metadata["labels"], **about}}
    write_tensors(path, {n: t for n, t in tensors.items() if t is not None}, metadata)
    line = refusal(load, path)
    assert line.startswith(f"{path} is not a complete distilled set: ")
    assert words in line

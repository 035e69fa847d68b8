"""Labels: their losses against formulas, and the replay of stored augmentations."""

import math

import pytest
import torch
import torch.nn.functional as F

from ddkit.data.augmentation.views import draw_views
from ddkit.labels import (
    EpochLabels,
    HardLabels,
    RegressionTargets,
    SoftLabels,
    joined,
    labels_from,
    soft_cross_entropy,
)
from ddkit.runtime.errors import DdkitError

COUNT, CLASSES, EPOCHS = 9, 3, 4
CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def by_hand(logits, targets, temperature: float) -> float:
    """Return the mean of Σ p log (p / q) over a batch, with plain numbers."""

    def softmax(row):
        exponents = [math.exp(value / temperature) for value in row]
        return [value / sum(exponents) for value in exponents]

    divergences = [
        sum(p * math.log(p / q) for p, q in zip(softmax(t), softmax(s), strict=True))
        for s, t in zip(logits.tolist(), targets.tolist(), strict=True)
    ]
    return sum(divergences) / len(divergences)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_the_soft_loss_is_the_divergence_of_the_softened_distributions(temperature):
    logits, targets = (random(5, 4, seed=s, dtype=torch.float64) * 3 for s in (0, 1))
    found = soft_cross_entropy(logits, targets, temperature)
    assert found.dim() == 0
    assert found.item() == pytest.approx(by_hand(logits, targets, temperature), rel=1e-12)


def test_the_soft_loss_at_a_point_done_by_hand():
    # p = (½, ½), q = (¾, ¼): ½ ln(⅔) + ½ ln(2) = ½ ln(4/3)
    found = soft_cross_entropy(torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2), 1.0)
    assert found.item() == pytest.approx(0.5 * math.log(4 / 3))


def test_the_loss_of_targets_is_half_the_mean_squared_error_done_by_hand():
    outputs, targets = (
        torch.tensor([[1.0, 0.0], [0.5, 2.0]]),
        torch.tensor([[0.0, 0.0], [0.5, 1.0]]),
    )
    # errors 1, 0, 0, 1: half of 2 / 4
    assert RegressionTargets(targets).loss(outputs, targets).item() == pytest.approx(0.25)


def test_targets_of_real_images_are_one_hot_less_their_mean():
    found = RegressionTargets.of_classes(torch.tensor([1, 0]), 4)
    expected = [[-0.25, 0.75, -0.25, -0.25], [0.75, -0.25, -0.25, -0.25]]
    assert found.values.tolist() == expected
    assert (found.kind, found.form, found.epochs, found.bytes) == ("targets", "fp32", 1, 32)
    rows = torch.tensor([1])
    images = random(2, 1, 2, 2)
    seen, targets = found.batch(images, rows, 5)
    assert torch.equal(seen, images[rows])
    assert targets.tolist() == expected[1:]


def test_the_soft_loss_is_least_where_the_student_is_the_teacher():
    targets = random(5, 4, dtype=torch.float64)
    logits = (targets + 3).requires_grad_()  # softmax does not feel a shift
    loss = soft_cross_entropy(logits, targets, 2.0)
    loss.backward()
    assert abs(loss.item()) < 1e-12
    assert logits.grad.abs().max() < 1e-12


def test_the_gradient_of_the_soft_loss_is_the_difference_of_probabilities():
    logits, targets = (random(5, 4, seed=s, dtype=torch.float64) for s in (0, 1))
    logits.requires_grad_()
    soft_cross_entropy(logits, targets, 3.0).backward()
    difference = F.softmax(logits / 3, 1) - F.softmax(targets / 3, 1)
    torch.testing.assert_close(logits.grad, difference.detach() / (5 * 3))


def test_hard_labels_are_trained_by_cross_entropy():
    labels = HardLabels(torch.tensor([2, 0, 1]))
    targets = labels.targets(torch.tensor([0, 2]), epoch=7)
    assert targets.tolist() == [2, 1]
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, math.log(2.0), 0.0]])
    assert labels.loss(logits, targets).item() == pytest.approx((math.log(3) + math.log(2)) / 2)
    assert labels.bytes == 0


def test_soft_labels_are_float32_for_training_whatever_is_stored():
    labels = SoftLabels(random(COUNT, CLASSES).half(), temperature=4.0)
    rows = torch.tensor([4, 0])
    targets = labels.targets(rows, epoch=3)
    assert targets.dtype == torch.float32
    assert torch.equal(targets, labels.logits[rows].float())
    logits = random(2, CLASSES, seed=5)
    assert labels.loss(logits, targets).item() == pytest.approx(
        by_hand(logits, targets, 4.0), rel=1e-5
    )
    assert labels.bytes == COUNT * CLASSES * 2


def images() -> torch.Tensor:
    return torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def epoch_labels(mix: str = "cutmix") -> EpochLabels:
    views = joined(
        [
            draw_views(COUNT, (8, 8), torch.Generator().manual_seed(s), mix=mix)
            for s in range(EPOCHS)
        ]
    )
    return EpochLabels(random(EPOCHS, COUNT, CLASSES).half(), views, temperature=2.0)


@pytest.mark.parametrize("mix", ["none", "cutmix", "mixup"])
def test_what_a_network_sees_of_an_image_does_not_depend_on_batch_and_order(mix):
    labels, pixels = epoch_labels(mix), images()
    for epoch in range(EPOCHS):
        alone = torch.cat([labels.view(pixels, torch.tensor([r]), epoch) for r in range(COUNT)])
        for seed, size in enumerate((2, 4, COUNT)):
            order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))
            for rows in order.split(size):
                assert torch.equal(labels.view(pixels, rows, epoch), alone[rows])
                assert torch.equal(labels.targets(rows, epoch), labels.logits[epoch, rows].float())


def test_images_may_be_read_as_they_are_needed():
    labels, pixels, rows = epoch_labels(), images(), torch.tensor([7, 2, 2])
    read = []

    def lazily(wanted: torch.Tensor) -> torch.Tensor:
        read.append(wanted)
        return pixels[wanted]

    assert torch.equal(labels.view(lazily, rows, 1), labels.view(pixels, rows, 1))
    assert max(len(wanted) for wanted in read) <= len(rows)


def test_the_replayed_view_is_the_one_that_was_labelled():
    from ddkit.data.augmentation.views import render

    labels, pixels, rows = epoch_labels(), images(), torch.tensor([8, 1])
    for epoch in range(EPOCHS):
        drawn = draw_views(COUNT, (8, 8), torch.Generator().manual_seed(epoch), mix="cutmix")
        assert torch.equal(labels.view(pixels, rows, epoch), render(pixels, drawn, rows))


def test_epochs_differ_and_start_over_after_the_last():
    labels, pixels, rows = epoch_labels(), images(), torch.arange(COUNT)
    first = labels.view(pixels, rows, 0)
    assert not torch.equal(first, labels.view(pixels, rows, 1))
    assert torch.equal(first, labels.view(pixels, rows, EPOCHS))
    assert torch.equal(labels.targets(rows, 1), labels.targets(rows, EPOCHS + 1))


@pytest.mark.parametrize(
    "labels", [HardLabels(torch.arange(3)), SoftLabels(random(3, 2), 4.0), epoch_labels("mixup")]
)
def test_labels_come_back_from_their_tensors(labels):
    tensors = {"classes": torch.arange(3), **labels.tensors()}
    again = labels_from(labels.kind, tensors, {"temperature": labels.temperature})
    rows = torch.tensor([2, 0])
    assert type(again) is type(labels)
    assert again.temperature == labels.temperature
    assert torch.equal(again.targets(rows, 3), labels.targets(rows, 3))
    pixels = images()
    assert torch.equal(again.view(pixels, rows, 3), labels.view(pixels, rows, 3))
    assert again.bytes == labels.bytes
    assert torch.equal(again.to(CPU).targets(rows, 1), labels.targets(rows, 1))


def test_labels_of_an_unknown_kind_are_refused():
    with pytest.raises(DdkitError) as caught:
        labels_from("fancy", {}, {})
    assert str(caught.value) == (
        "labels of kind 'fancy' are unknown to this version of ddkit: update it"
    )

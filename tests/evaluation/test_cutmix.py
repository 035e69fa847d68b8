"""CutMix of hard-labelled batches, IDC's layered DSA, rates that drop: everywhere they apply."""

import pytest
import torch
from torch import Tensor

from ddkit import DdkitError, RealTraining, Recipe
from ddkit.data.augmentation.augment import cutmix, paste
from ddkit.data.augmentation.dsa import SCHEMES, draw_dsa, draw_scheme
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import evaluate_real, protocol_for
from ddkit.evaluation.training import TrainingSet, train_together
from ddkit.labels import SoftLabels

CPU = torch.device("cpu")
CUTMIX = protocol_for("cutmix").with_recipe(epochs=3, batch_size=4)
NET = "convnet:depth=1:width=4"


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 1, 8, 6)
    return images, torch.arange(count) % 3


def test_one_box_of_another_image_is_pasted_and_classes_share_by_its_pixels():
    images, labels = batch()
    covered = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        mixed, targets = cutmix(images, labels, 3, generator, 1.0)
        where = (mixed != images).any(0).squeeze(0)
        rows, columns = where.any(1), where.any(0)
        box = where[rows][:, columns]
        assert box.all()  # a rectangle, the same in all images
        share = 1 - box.numel() / 48
        covered.add(round(share, 3))
        for i in range(6):
            partner = int(mixed[i][0][where].unique()) if box.numel() else i
            expected = torch.zeros(3)
            expected[labels[i]] += share
            expected[labels[partner]] += 1 - share
            torch.testing.assert_close(targets[i], expected)
    assert len(covered) > 8
    assert min(covered) <= 0.5 < max(covered)


def test_as_many_batches_are_mixed_as_the_probability_says():
    images, labels = batch()
    mixed = 0
    for seed in range(400):
        found, targets = cutmix(images, labels, 3, torch.Generator().manual_seed(seed), 0.3)
        mixed += not torch.equal(found, images)
        if torch.equal(found, images):
            assert torch.equal(targets.argmax(1), labels) or targets.max() < 1
    assert mixed == pytest.approx(0.3 * 400, abs=35)
    assert cutmix(images, labels, 3, torch.Generator(), 0.0)[0] is images


def test_boxes_may_differ_from_image_to_image():
    images, _ = batch(2)
    pasted = paste(images, images + 10, torch.tensor([[0, 0, 8, 3], [2, 1, 2, 5]]))
    assert (pasted[0, 0, :, :3] == 10).all()
    assert (pasted[0, 0, :, 3:] == 0).all()
    assert (pasted[1] == 1).all()


def test_layered_dsa_is_flip_color_one_of_the_others_and_cutout():
    drawn = [
        draw_scheme("dsa-layered", 2, (8, 8), torch.Generator().manual_seed(i), flip=True)
        for i in range(60)
    ]
    kinds = {each.operation for each in drawn}
    assert kinds == {f"flip_color_{one}" for one in ("crop", "scale", "rotate")}
    digits = draw_scheme("dsa-layered", 2, (8, 8), torch.Generator(), flip=False)
    assert digits.operation.startswith("color_")
    whole = draw_scheme("color-crop-cutout", 2, (8, 8), torch.Generator(), flip=True)
    assert whole.operation == "color_crop_cutout"
    same = [draw_dsa(3, (8, 8), torch.Generator().manual_seed(5)) for _ in range(2)]
    assert same[0].operation == same[1].operation != ""
    again = draw_scheme("dsa", 3, (8, 8), torch.Generator().manual_seed(5), flip=True)
    assert torch.equal(again.steps[0][1], same[0].steps[0][1])
    assert set(SCHEMES) == {"dsa", "dsa-layered", "color-crop", "color-crop-cutout"}


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        ("drop:0.2:2/3:5/6", 1000, {665.9: 1, 666: 0.2, 832.9: 0.2, 833: 0.04, 999: 0.04}),
        ("drop:0.5:1/5:2/5:3/5:4/5", 300, {59: 1, 60: 0.5, 120: 0.25, 180: 0.125, 299: 0.0625}),
        ("drop:.5:1/2", 5, {1.9: 1, 2: 0.5}),
    ],
)
def test_rates_drop_at_parts_of_the_epochs_rounded_down(schedule, epochs, expected):
    recipe = Recipe(epochs=epochs, schedule=schedule)
    assert {epoch: recipe.factor(epoch) for epoch in expected} == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["drop:2:1/2", "drop:0.2", "drop:0.2:1", "drop:0.2:0/3"])
def test_a_drop_that_says_no_factor_or_no_part_is_refused(schedule):
    with pytest.raises(DdkitError, match="option 'schedule'"):
        CUTMIX.with_recipe(schedule=schedule)


def test_what_was_stored_of_protocols_is_as_before():
    for name in ("dsa", "dsa-soft", "plain", "l1", "regression", "soft"):
        assert "cutmix" not in protocol_for(name).model_dump()["recipe"]
    assert protocol_for("cutmix").model_dump()["recipe"]["cutmix"] == 0.5


def test_cutmix_is_for_classes_alone():
    with pytest.raises(DdkitError, match="labels must be hard"):
        protocol_for("dsa-soft").with_recipe(cutmix=0.5)


def test_batches_of_several_networks_are_those_of_each_alone(artifact):
    data = TrainingSet(load(artifact(ipc=3)), CUTMIX, CPU)
    alone = [list(data.batches(seed, 1)) for seed in (4, 7)]
    for number, (inputs, targets) in enumerate(data.stacked([4, 7], 1)):
        for place in range(2):
            assert torch.equal(inputs[place], alone[place][number][0])
            assert torch.equal(targets[place], alone[place][number][1])
            torch.testing.assert_close(targets[place].sum(1), torch.ones(len(targets[place])))
    plain = TrainingSet(load(artifact(ipc=3)), CUTMIX.with_recipe(cutmix=0), CPU)
    assert [targets.dtype for _, targets in plain.batches(4, 1)] == [torch.int64] * 2


def test_networks_are_trained_on_mixed_batches_alone_together_and_on_all_data(
    artifact, run, make_split
):
    distilled = load(artifact(ipc=3, labels=None))
    ends = []
    for cut in (0.0, 1.0):
        protocol = CUTMIX.with_recipe(cutmix=cut, lr=0.1)
        together = train_together(distilled, protocol, NET, [0, 1], CPU)
        (alone,) = train_together(distilled, protocol, NET, [0], CPU)
        weight = alone.classifier.weight
        torch.testing.assert_close(together[0].classifier.weight, weight, rtol=1e-3, atol=1e-5)
        ends.append(weight)
    assert not torch.allclose(*ends, atol=1e-3)
    work = run()
    test = Resident(make_split(each=10, seed=1), work.space, CPU)
    found = [
        evaluate_real(
            CUTMIX.model_copy(update={"real_epochs": 2}).with_recipe(cutmix=cut, lr=0.05),
            work,
            test,
            NET,
            [0],
        ).accuracies
        for cut in (0.5, 0.5)
    ]
    assert found[0] == found[1]


def test_a_pool_is_trained_on_mixed_batches_as_its_recipe_says(run):
    small = run(network=NET)
    training = [
        RealTraining(
            small, "pair", 1, Recipe(epochs=1, batch_size=5, cutmix=cut), (0,), "color-crop"
        )
        for cut in (0.0, 1.0)
    ]
    plain, mixed = (list(each.batches(0, 0)) for each in training)
    changed = 0
    for (before, labels), (after, targets) in zip(plain, mixed, strict=True):
        assert targets.shape == (len(labels), 3)
        changed += not torch.equal(before, after)
    assert changed > len(plain) / 2
    again = list(training[1].batches(0, 0))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(mixed, again, strict=True))


def test_a_set_with_soft_labels_is_trained_on_by_its_classes(artifact):
    images = load(artifact(ipc=2))
    path = artifact("soft", ipc=2, labels=SoftLabels(torch.randn(len(images), 3)))
    inputs, targets = next(iter(TrainingSet(load(path), CUTMIX, CPU).batches(0, 0)))
    assert targets.shape == (len(inputs), 3)

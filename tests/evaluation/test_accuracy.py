"""Honest numbers: reproducible, the same code for every set, and the test split left alone."""

from math import isnan, sqrt
from types import SimpleNamespace

import pytest
import torch

from ddkit.data.augmentation.dsa import apply_dsa, draw_dsa
from ddkit.data.augmentation.views import draw_views
from ddkit.data.loading.resident import Resident
from ddkit.data.sources import load as sources
from ddkit.data.space import InputSpace
from ddkit.distilled.dataset import load
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation.accuracy import (
    evaluate_with,
    own_protocol_name,
    protocol_for,
    rated,
    tuned,
    tuning_split,
)
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.result import Evaluation
from ddkit.evaluation.training import create, train_on
from ddkit.labels import EpochLabels, SoftLabels, joined
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import evaluate as comparison
from ddkit.pipeline.prepare import prepare
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent
from ddkit.runtime.seeds import generator
from ddkit.synthesis.images import Synthetic
from ddkit.training import loop as training
from ddkit.training.recipe import Recipe

CPU = torch.device("cpu")
NET = "convnet:depth=1:width=4"
DSA = protocol_for("dsa").with_recipe(epochs=4)
SOFT = protocol_for("soft").with_recipe(epochs=4)


@pytest.fixture
def test_set(run, make_split) -> Resident:
    """Test images that are hard to tell apart, so that accuracies lie between chance and all."""
    split = make_split(each=40, seed=1)
    noise = torch.randint(120, split.images.shape, generator=torch.Generator().manual_seed(2))
    split = type(split)((split.images // 2 + noise).to(torch.uint8), split.labels, split.classes)
    return Resident(split, run().space, CPU)


def accuracies(path, test_set, protocol=DSA, seeds=(0, 1, 2)) -> tuple[float, ...]:
    return evaluate_with(protocol, load(path), test_set, NET, seeds, CPU).accuracies


def soft(count: int = 6) -> SoftLabels:
    return SoftLabels(torch.randn(count, 3, generator=torch.Generator().manual_seed(4)), 4.0)


def test_a_seed_gives_its_value_whatever_the_other_seeds(artifact, test_set):
    path = artifact()
    together = accuracies(path, test_set, seeds=(0, 1, 2))
    assert together == accuracies(path, test_set, seeds=(0, 1, 2))
    assert accuracies(path, test_set, seeds=(2,)) == together[2:]
    assert len(set(together)) > 1
    assert all(0 < value < 1 for value in together)


@pytest.mark.parametrize("protocol", [DSA, SOFT], ids=["dsa", "soft"])
def test_random_images_are_worth_what_an_artifact_of_the_same_images_is(
    run, data, artifact, test_set, tmp_path, protocol
):
    chosen = run(network=NET, train=data["train"])
    random = pipeline.distill(chosen.config, tmp_path / "random")
    mine = artifact(train=data["train"], method="mine", network=NET)
    assert accuracies(random, test_set, protocol) == accuracies(mine, test_set, protocol)


def test_the_form_and_the_files_of_the_images_make_no_difference(artifact, test_set):
    expected = accuracies(artifact("one.safetensors"), test_set)
    many = artifact("many.safetensors", part_bytes=64)
    assert accuracies(many, test_set) == expected


def test_the_global_generators_make_no_difference(artifact, test_set):
    path = artifact()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = accuracies(path, test_set)
        torch.manual_seed(2)
        assert accuracies(path, test_set) == first


def test_a_hard_protocol_does_not_look_at_soft_labels(artifact, test_set):
    plain, labelled = artifact("a.safetensors"), artifact("b.safetensors", labels=soft())
    assert accuracies(plain, test_set) == accuracies(labelled, test_set)
    assert accuracies(plain, test_set, SOFT) != accuracies(labelled, test_set, SOFT)


def test_an_evaluation_says_how_it_was_made(artifact, test_set):
    found = evaluate_with(SOFT, load(artifact(labels=soft())), test_set, NET, [0, 1], CPU)
    assert (found.network, found.protocol, found.labels) == (NET, "soft", "soft")
    assert (found.learning_rate, found.own, found.tuned) == (1e-3, False, False)
    assert found.seconds > 0
    hard = evaluate_with(DSA, load(artifact(labels=soft())), test_set, NET, [0], CPU)
    assert (hard.labels, hard.learning_rate) == ("hard", 0.01)


def test_mean_and_deviation_done_by_hand():
    found = Evaluation((0.1, 0.2, 0.6), NET, "dsa", "hard", 0.01, 1.0)
    assert found.mean == pytest.approx(0.3)
    assert found.std == pytest.approx(sqrt((0.04 + 0.01 + 0.09) / 2))
    assert found.to_json()["n"] == 3
    alone = Evaluation((0.1,), NET, "dsa", "hard", 0.01, 1.0)
    assert isnan(alone.std)
    assert alone.to_json()["std"] is None


@pytest.mark.parametrize("batch", [2, 5, 256])
def test_accuracy_is_that_of_the_published_recipe_line_by_line(artifact, test_set, batch):
    assert DSA.recipe.batch_size == 256
    distilled = load(artifact())
    found = evaluate_with(DSA.with_recipe(batch_size=batch), distilled, test_set, NET, [7], CPU)

    model = create(NET, distilled.class_names, distilled.shape, 7, CPU)
    weights = [(weight, torch.zeros_like(weight)) for weight in model.parameters()]
    images = (distilled.pixels(torch.arange(6)) - distilled.space.mean) / distilled.space.std
    for epoch in range(4):
        rate = 0.01 if epoch < 2 else 0.001
        order = torch.randperm(6, generator=generator(7, "order", epoch))
        for index, rows in enumerate([order] if batch == 5 else order.split(batch)):
            # a last image joins the others
            drawn = draw_dsa(len(rows), (8, 8), generator(7, "dsa", epoch, index))
            logits = model(apply_dsa(images[rows], drawn))
            log_shares = logits - logits.exp().sum(1, keepdim=True).log()
            loss = -sum(log_shares[i, distilled.classes[row]] for i, row in enumerate(rows))
            slopes = torch.autograd.grad(loss / len(rows), list(model.parameters()))
            with torch.no_grad():
                for (weight, momentum), slope in zip(weights, slopes, strict=True):
                    momentum.mul_(0.9).add_(slope + 5e-4 * weight)
                    weight -= rate * momentum

    trained = train_on(distilled, DSA.with_recipe(batch_size=batch), NET, 7, CPU)
    for own, (weight, _) in zip(trained.parameters(), weights, strict=True):
        torch.testing.assert_close(own, weight, rtol=1e-5, atol=1e-6)
    inputs = test_set.inputs(torch.arange(len(test_set)))
    guesses = [int(model(image.unsqueeze(0)).argmax()) for image in inputs]
    right = sum(guess == label for guess, label in zip(guesses, test_set.labels, strict=True))
    assert found.accuracies == (int(right) / len(test_set),)


def test_labels_of_each_epoch_come_with_their_augmentation(artifact, monkeypatch):
    views = joined(
        [draw_views(6, (8, 8), torch.Generator().manual_seed(epoch)) for epoch in range(2)]
    )
    logits = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    distilled = load(artifact(labels=EpochLabels(logits, views, 4.0)))
    seen = []

    def spied(network, batches, recipe, **options):
        for epoch in range(3):
            seen.append(list(batches(epoch)))
        return iter([])

    monkeypatch.setattr(training, "fit", spied)
    protocol = SOFT.with_recipe(batch_size=4)
    train_on(distilled, protocol, NET, 0, CPU)
    for epoch, batches in enumerate(seen):
        whole, targets = distilled.inputs(torch.arange(6), epoch)
        assert [len(labels) for _, labels in batches] == [4, 2]
        for inputs, labels in batches:
            for image, label in zip(inputs, labels, strict=True):
                row = (targets == label).all(1).nonzero().item()
                assert torch.equal(image, whole[row])


def with_rate(rate: float) -> Synthetic:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Synthetic(images, torch.arange(3).repeat_interleave(2), rate)


def test_a_learned_learning_rate_is_used_where_the_students_are_trained_by_sgd(artifact, test_set):
    learned = load(artifact("learned.safetensors", images=with_rate(0.123)))
    plain = load(artifact("plain.safetensors", images=with_rate(None)))
    assert rated(DSA, learned).recipe.lr == 0.123
    assert rated(DSA, learned).recipe == DSA.with_recipe(lr=0.123).recipe
    assert rated(SOFT, learned) == SOFT
    assert rated(DSA, plain) == DSA
    found = evaluate_with(rated(DSA, learned), learned, test_set, NET, [0, 1], CPU)
    expected = evaluate_with(DSA.with_recipe(lr=0.123), plain, test_set, NET, [0, 1], CPU)
    assert found.accuracies == expected.accuracies
    assert found.learning_rate == 0.123


def rates_tried(monkeypatch, scores) -> list[float]:
    """Let the rates that `tuned` tries score as `scores` (rate → accuracy) says."""
    tried = []

    def train_on(distilled, protocol, network, seed, device):
        tried.append(protocol.recipe.lr)

    monkeypatch.setattr(evaluation, "train_on", train_on)
    monkeypatch.setattr(training, "accuracy", lambda model, batches: scores(tried[-1]))
    return tried


def test_tuning_takes_the_rate_that_does_best_on_the_holdout(artifact, test_set, monkeypatch):
    tried = rates_tried(monkeypatch, lambda rate: -abs(rate - 0.03))
    found = tuned(DSA, load(artifact()), test_set, NET, CPU)
    assert tried == pytest.approx([0.001, 0.003, 0.01, 0.03, 0.1])
    assert found.recipe.lr == pytest.approx(0.03)
    assert found.recipe == DSA.with_recipe(lr=found.recipe.lr).recipe


def test_tuning_starts_from_a_learned_rate_under_sgd(artifact, test_set, monkeypatch):
    tried = rates_tried(monkeypatch, lambda rate: rate)
    tuned(rated(DSA, learned := load(artifact(images=with_rate(2.0)))), learned, test_set, NET, CPU)
    assert tried == pytest.approx([0.2, 0.6, 2.0, 6.0, 20.0])


def test_tuning_another_optimiser_does_not_start_from_a_rate_learned_for_sgd(
    artifact, test_set, monkeypatch
):
    tried = rates_tried(monkeypatch, lambda rate: rate)
    tuned(
        rated(SOFT, learned := load(artifact(images=with_rate(2.0)))), learned, test_set, NET, CPU
    )
    assert tried == pytest.approx([1e-4, 3e-4, 1e-3, 3e-3, 1e-2])


def test_a_rate_that_diverges_loses_the_tuning_and_does_not_end_it(artifact, test_set):
    unstable = Protocol(
        name="unstable",
        labels="hard",
        recipe=Recipe(epochs=300, lr=3.0, momentum=0, weight_decay=1.0, schedule="constant"),
    )
    found = tuned(unstable, load(artifact()), test_set, NET, CPU)
    assert found.recipe.lr < 2


def test_tuning_never_reads_the_test_split(run, data, artifact, monkeypatch):
    def guarded(options, split, **_):
        if split == "test":
            raise AssertionError("the test split was read")
        return data["train"]

    monkeypatch.setattr(sources, "load", guarded)
    distilled = load(artifact(train=data["train"]))
    for holdout in (0.0, 0.25):
        config = run(data={"name": "digits", "holdout": holdout}).config
        work = prepare(config, run().folder)
        split = tuning_split(work)
        assert len(split) == (9 if holdout else 3)
        assert tuned(DSA, distilled, split, NET, CPU).recipe.lr > 0


@pytest.fixture
def compared(run, data, tmp_path, monkeypatch):
    """Distil random images and return a function that compares the artifact with its baselines."""
    path = pipeline.distill(run(network=NET, seed=3).config, tmp_path / "mine")

    def compare(path=path, **options):
        chosen = {"protocols": ["dsa"], "networks": None, "seeds": [0, 1], "recipe": {"epochs": 3}}
        return comparison.compare(path, progress=Silent(), **{**chosen, "real": False, **options})

    compare.path = path
    return compare


def test_the_learning_rate_that_is_chosen_does_not_depend_on_the_test_images(
    compared, data, make_split
):
    before = [row.evaluation for row in compared(tune_lr=True)]
    wrong = data["test"]
    data["test"] = type(wrong)(255 - wrong.images, wrong.labels.flip(0), wrong.classes)
    after = [row.evaluation for row in compared(tune_lr=True)]
    assert [e.learning_rate for e in before] == [e.learning_rate for e in after]
    assert [e.accuracies for e in before] != [e.accuracies for e in after]


def test_a_tuned_rate_is_marked_in_the_result(compared):
    assert [row.evaluation.tuned for row in compared()] == [False, False]
    assert [row.evaluation.tuned for row in compared(tune_lr=True)] == [True, True]


def test_random_images_stand_beside_every_set_under_the_same_recipe(compared):
    rows = compared()
    assert [row.title for row in rows] == ["random", "random real images"]
    assert rows[0].evaluation.accuracies == rows[1].evaluation.accuracies
    assert rows[0].over_random == 0.0


def test_the_baseline_of_changed_data_is_made_anew(compared, data, run, make_split, tmp_path):
    compared()
    data["train"] = make_split(each=12, seed=77)
    path = pipeline.distill(run(network=NET, seed=3).config, tmp_path / "again")
    rows = compared(path)
    assert rows[0].evaluation.accuracies == rows[1].evaluation.accuracies


def test_other_data_than_were_distilled_are_refused(compared, data, make_split):
    data["train"] = make_split(each=12, seed=77)
    with pytest.raises(DdkitError) as caught:
        compared()
    assert str(caught.value) == (
        f"the data 'digits' are not those that {compared.path} was distilled from: "
        "name the right ones with --data"
    )


def test_a_test_split_of_other_classes_is_refused(compared, data, make_split):
    data["test"] = make_split(classes=4)
    with pytest.raises(DdkitError, match="has other classes or another image size"):
        compared()


def test_all_real_data_are_trained_with_the_same_recipe(run, data, test_set):
    work = run(train=data["train"])
    protocol = DSA.model_copy(update={"real_epochs": 2})
    found = evaluation.evaluate_real(protocol, work, test_set, NET, [0, 1])
    assert (found.labels, found.learning_rate) == ("hard", 0.01)
    again = evaluation.evaluate_real(protocol, work, test_set, NET, [1])
    assert again.accuracies == found.accuracies[1:]


def test_an_unknown_protocol_is_refused_with_the_nearest_one():
    with pytest.raises(DdkitError, match="unknown protocol 'sfot': did you mean 'soft'"):
        protocol_for("sfot")


def test_the_space_of_the_set_is_the_students(artifact, run):
    path = artifact(space="unit")
    assert load(path).space.fingerprint() == InputSpace.fit(run().train, "unit").fingerprint()


@pytest.mark.parametrize(
    ("labels", "temperature", "rate", "name"),
    [
        ("hard", 1, 0.5, "dsa"),
        ("soft", 1, 0.5, "dsa-soft"),
        ("soft", 20, 0.5, "soft"),
        ("soft", 1, None, "soft"),
        ("epoch", 1, 0.5, "soft"),
    ],
)
def test_the_protocol_follows_from_the_labels_and_a_learned_rate(labels, temperature, rate, name):
    kind = SimpleNamespace(kind=labels, temperature=temperature)
    distilled = SimpleNamespace(labels=kind, learning_rate=rate)
    assert own_protocol_name(distilled) == name


def test_l1_trains_towards_the_logits_as_they_are(artifact):
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    distilled = load(artifact(labels=SoftLabels(logits, temperature=20.0)))
    protocol = protocol_for("l1").with_recipe(epochs=2, lr=0.1)
    trained = train_on(distilled, protocol, NET, 0, CPU).state_dict()

    by_hand = create(NET, distilled.class_names, distilled.shape, 0, CPU)
    inputs, targets = distilled.inputs(torch.arange(6))
    optimiser = torch.optim.SGD(by_hand.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    for rate in (0.1, 0.01):  # ×0.1 from the middle on
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        (by_hand(inputs) - targets).abs().mean().backward()
        optimiser.step()
    for name, tensor in by_hand.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-4, atol=1e-5)

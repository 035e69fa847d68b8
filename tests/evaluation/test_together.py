"""Seeds trained as one batched network: each as if it were alone, wherever that is faster."""

from itertools import count, cycle

import pytest
import torch
from torch import nn

from ddkit.data.augmentation.views import draw_views
from ddkit.data.loading.resident import Resident
from ddkit.distilled.dataset import load
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation import training as students
from ddkit.evaluation.accuracy import evaluate_real, evaluate_with, open_test, protocol_for
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.training import at_once, create, train_on, train_together
from ddkit.labels import EpochLabels, SoftLabels, joined
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.memory import PeakMemory
from ddkit.runtime.timing import BLOCKS
from ddkit.training import stacked as batched
from ddkit.training.loop import Diverged
from ddkit.training.recipe import Recipe

CPU = torch.device("cpu")
NET = "convnet:depth=1:width=4"
SEEDS = (3, 0, 8)
DSA = protocol_for("dsa").with_recipe(epochs=4)
BRANCHING = """
from torch import nn

class Branching(nn.Sequential):
    def forward(self, x):
        logits = super().forward(x)
        return logits if logits.sum() > 0 else 2 * logits

def factory(classes, shape):
    channels, height, width = shape
    return Branching(nn.Flatten(), nn.Linear(channels * height * width, classes))
"""


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch):
    """What one test measured decides nothing in another."""
    monkeypatch.setattr(students, "_faster", {})


@pytest.fixture
def test_set(run, make_split) -> Resident:
    return Resident(make_split(each=40, seed=1), run().space, CPU)


@pytest.fixture
def double(monkeypatch):
    """Let networks be in double precision, so that nothing but rounding can be small."""

    class Double(nn.Module):
        def __init__(self, network: nn.Module):
            super().__init__()
            self.network = network.double()

        def forward(self, inputs):
            return self.network(inputs.double())

    single = students.create
    monkeypatch.setattr(students, "create", lambda *about: Double(single(*about)))


def epoch_labels(mix: str) -> EpochLabels:
    views = [draw_views(6, (8, 8), torch.Generator().manual_seed(e), mix=mix) for e in range(3)]
    return EpochLabels(torch.randn(3, 6, 3, generator=torch.Generator()), joined(views), 4.0)


LABELS = {
    "hard": None,
    "soft": SoftLabels(torch.randn(6, 3, generator=torch.Generator().manual_seed(4)), 4.0),
    "cutmix": epoch_labels("cutmix"),
    "mixup": epoch_labels("mixup"),
}


def plan(labels="own", augmentation="none", loss="labels", **recipe) -> Protocol:
    fields = {"epochs": 4, "batch_size": 4, "lr": 0.05, "schedule": "cosine", **recipe}
    return Protocol(
        name="plan", labels=labels, loss=loss, augmentation=augmentation, recipe=Recipe(**fields)
    )


def assert_same_networks(distilled, protocol, network=NET, atol=1e-12) -> None:
    found = train_together(distilled, protocol, network, SEEDS, CPU)
    for seed, mine in zip(SEEDS, found, strict=True):
        alone = train_on(distilled, protocol, network, seed, CPU).state_dict()
        for name, tensor in mine.state_dict().items():
            torch.testing.assert_close(tensor, alone[name], rtol=0, atol=atol, msg=f"{seed} {name}")


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("augmentation", ["none", "dsa"])
@pytest.mark.parametrize("labels", LABELS)
def test_each_seed_gets_the_network_it_would_have_alone(
    artifact, double, labels, augmentation, norm
):
    distilled = load(artifact(labels=LABELS[labels]))
    assert_same_networks(distilled, plan(augmentation=augmentation), f"{NET}:norm={norm}")


def test_each_seed_gets_the_same_network_towards_logits_as_they_are(artifact, double):
    distilled = load(artifact(labels=LABELS["soft"]))
    assert_same_networks(distilled, plan(loss="l1"))


@pytest.mark.parametrize("change", [{"cooling": 0.5}, {"calibrated": True}])
def test_each_seed_has_a_temperature_of_its_own(artifact, double, change):
    distilled = load(artifact(labels=LABELS["cutmix"]))
    assert_same_networks(distilled, plan(**change))


@pytest.mark.parametrize("name", ["dsa", "soft"])
def test_each_seed_gets_the_same_network_in_single_precision(artifact, name):
    distilled = load(artifact(labels=LABELS["cutmix"], space="zca"))
    # without a norm: Adam blows up the rounding of a bias before one, which has no gradient
    protocol = protocol_for(name).with_recipe(epochs=4, batch_size=4)
    assert_same_networks(distilled, protocol, f"{NET}:norm=none", 1e-5)


def test_one_seed_is_trained_alone(artifact):
    distilled = load(artifact())
    (found,) = train_together(distilled, DSA, NET, [5], CPU)
    alone = train_on(distilled, DSA, NET, 5, CPU).state_dict()
    assert all(torch.equal(tensor, alone[name]) for name, tensor in found.state_dict().items())


def test_a_watcher_sees_all_networks_as_they_are_after_every_epoch(artifact):
    distilled, protocol = load(artifact()), DSA.with_recipe(batch_size=4)
    seen, alone = [], []

    def weights(network: nn.Module) -> torch.Tensor:
        return network.classifier.weight.detach().clone()

    train_together(
        distilled, protocol, NET, SEEDS, CPU, lambda trained: seen.append([*map(weights, trained)])
    )
    for seed in SEEDS:
        train_on(distilled, protocol, NET, seed, CPU, lambda model: alone.append(weights(model)))
    assert len(seen) == 4
    found = torch.stack([epoch[number] for number in range(len(SEEDS)) for epoch in seen])
    torch.testing.assert_close(found, torch.stack(alone), rtol=0, atol=1e-5)


def test_accuracies_are_those_of_training_in_turn_but_for_rounding(tmp_path):
    flags = {"ipc": 1, "network": "convnet:width=16", "threads": 1}
    config = resolve(Request("random", flags, {"name": "digits"}, [], "none"))
    distilled = load(pipeline.distill(config, tmp_path / "random"))
    test = open_test(prepare(config, tmp_path / "random"))
    protocol = protocol_for("dsa").with_recipe(epochs=60)
    both = [
        evaluate_with(protocol, distilled, test, config.network, range(8), CPU, together=together)
        for together in (False, True)
    ]
    assert [found.together for found in both] == [1, 8]
    in_turn, together = (torch.tensor(found.accuracies) for found in both)
    assert in_turn.mean() > 0.4
    assert in_turn.std() > 0.01  # a seed of its own for each
    assert (in_turn.mean() - together.mean()).abs() < 0.01
    images = (in_turn - together).abs() * len(test)
    assert (images < 3.5).sum() >= 6


def test_a_network_that_cannot_be_batched_is_trained_in_turn(artifact, test_set, tmp_path):
    (tmp_path / "net.py").write_text(BRANCHING)
    network = f"{tmp_path / 'net.py'}:factory"
    both = [
        evaluate_with(DSA, load(artifact()), test_set, network, SEEDS, CPU, together=together)
        for together in (True, False)
    ]
    assert [found.together for found in both] == [1, 1]
    assert both[0].accuracies == both[1].accuracies
    assert both[0].peak_bytes == both[1].peak_bytes
    long = DSA.with_recipe(epochs=300)
    assert at_once(load(artifact()), long, network, SEEDS, CPU) == 1


def test_one_that_diverges_is_said_as_if_all_were_trained_in_turn(artifact, test_set, monkeypatch):
    def larger(network, classes, shape, seed, device):
        model = create(network, classes, shape, seed, device)
        for parameter in model.parameters():
            parameter.data *= 10.0**seed  # the higher the seed, the sooner it diverges
        return model

    monkeypatch.setattr(students, "create", larger)
    distilled = load(artifact())
    unstable = plan(epochs=300, lr=3.0, momentum=0, weight_decay=1.0, schedule="constant")

    def message(seeds, together) -> str:
        with pytest.raises(Diverged) as caught:
            evaluate_with(unstable, distilled, test_set, NET, seeds, CPU, together=together)
        return str(caught.value)

    alone = [message([seed], False) for seed in range(3)]
    assert len(set(alone)) == 3
    for together in (False, True, None):
        assert message(range(3), together) == alone[0]


@pytest.mark.parametrize(
    ("seeds", "size"),
    [
        (1, 1),
        (2, 2),
        (10, 10),
        (11, 6),
        (20, 10),
        (21, 7),
        (30, 10),
    ],
)
def test_groups_are_alike_in_size_and_no_larger_than_ten(artifact, seeds, size):
    distilled = load(artifact())
    assert at_once(distilled, DSA, NET, range(seeds), CPU, together=True) == size
    assert at_once(distilled, DSA, NET, range(seeds), CPU, together=False) == 1


def test_many_seeds_are_trained_group_by_group(artifact, test_set, monkeypatch):
    trained = []

    def spied(distilled, protocol, network, seeds, *options):
        trained.append(list(seeds))
        return train_together(distilled, protocol, network, seeds, *options)

    monkeypatch.setattr(students, "MOST_TOGETHER", 3)
    monkeypatch.setattr(evaluation, "train_together", spied)
    distilled = load(artifact())
    found = evaluate_with(DSA, distilled, test_set, NET, range(5), CPU, together=True)
    assert trained == [[0, 1, 2], [3, 4]]
    assert found.together == 3
    expected = evaluate_with(DSA, distilled, test_set, NET, range(5), CPU, together=False)
    assert found.accuracies == pytest.approx(expected.accuracies, abs=1.5 / len(test_set))


@pytest.mark.parametrize(("ratio", "together"), [(1.09, 1), (1.1, 3), (2.0, 3), (0.0, 1)])
def test_the_faster_way_is_chosen_once_for_all_sets_of_one_form(
    artifact, test_set, monkeypatch, ratio, together
):
    asked = count()
    monkeypatch.setattr(batched, "time_ratio", lambda *about, **limits: next(asked) * 0 + ratio)
    long = DSA.with_recipe(epochs=300)
    found = evaluate_with(long, load(artifact()), test_set, NET, SEEDS, CPU)
    assert found.together == together
    other = load(artifact("other.safetensors", seed=1))
    assert at_once(other, long.with_recipe(lr=0.1), NET, SEEDS, CPU) == together
    assert next(asked) == 1
    assert at_once(load(artifact("larger.safetensors", ipc=3)), long, NET, SEEDS, CPU) == together
    assert next(asked) == 3


def test_short_trainings_go_in_turn_unmeasured(artifact, monkeypatch):
    monkeypatch.setattr(batched, "time_ratio", lambda *about, **limits: 2.0)
    distilled = load(artifact())
    assert at_once(distilled, DSA.with_recipe(epochs=299), NET, SEEDS, CPU) == 1
    assert at_once(distilled, DSA.with_recipe(epochs=150, batch_size=3), NET, SEEDS, CPU) == 3


def test_both_ways_are_measured_on_real_steps(artifact, monkeypatch):
    taken = {1: 0, 3: 0}
    start = students._start

    def counted(distilled, protocol, network, seeds, device):
        networks, training = start(distilled, protocol, network, seeds, device)

        def steps():
            for position in training:
                taken[len(seeds)] += 1
                yield position

        return networks, steps()

    monkeypatch.setattr(students, "_start", counted)
    assert at_once(load(artifact()), DSA.with_recipe(epochs=300), NET, SEEDS, CPU) in (1, 3)
    assert taken == {1: 3 + (1 + BLOCKS) * 3, 3: 1 + BLOCKS}  # 3 tell whether a step is short


def test_of_steps_that_are_long_by_themselves_no_batched_one_is_tried(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def training(*seconds: float):
        for each in seconds:
            clock[0] += each
            yield

    never = iter(())
    assert batched.time_ratio(training(9.0, 0.2, 0.2), never, 2, CPU, longest=0.1) == 0
    alone = training(9.0, 0.05, 0.05, 5.0, 5.0, 1.0, 2.0, *[3.0, 4.0] * 4)
    together = training(5.0, 2.0, 1.0, 2.0, 9.0, 2.0)
    assert batched.time_ratio(alone, together, 2, CPU, longest=0.1) == 3.5


def test_a_batched_training_that_diverges_is_no_faster():
    def diverging():
        yield 1
        raise Diverged("at once")

    assert batched.time_ratio(cycle([1]), diverging(), 2, CPU) == 0


@pytest.fixture
def peak(artifact, test_set):
    """Return the peak memory of an evaluation; keywords are of the artifact and of the recipe."""

    def measure(seeds=SEEDS, together=False, ipc=2, **recipe) -> int:
        distilled, protocol = load(artifact(ipc=ipc)), DSA.with_recipe(**recipe)
        return evaluate_with(
            protocol, distilled, test_set, NET, seeds, CPU, together=together
        ).peak_bytes

    return measure


def test_peak_memory_is_that_of_two_steps_of_the_first_networks(peak):
    assert peak(epochs=1) < peak(epochs=2) == peak(epochs=9)
    assert peak() == peak(seeds=SEEDS[:1])
    assert 2 * peak() < peak(together=True) < 5 * peak()


def test_peak_memory_counts_the_set_the_batch_and_the_weights(artifact, peak):
    image = 64 * 4
    assert peak(ipc=8, batch_size=2) - peak(ipc=2, batch_size=2) >= 18 * image
    assert peak(ipc=8) - peak(ipc=2) > 2 * 18 * image
    model = train_on(load(artifact()), DSA, NET, 0, CPU)
    assert peak(batch_size=2) > 3 * sum(tensor.nbytes for tensor in model.parameters())


def test_what_comes_after_the_first_steps_is_not_watched(artifact):
    memory, taken = PeakMemory(), []

    def large(network: nn.Module) -> None:
        taken.append(torch.zeros(10**6 if len(taken) else 1))

    train_on(load(artifact()), DSA, NET, 0, CPU, large, memory)
    assert len(taken) == 4
    assert 0 < memory.peak < 10**6


def test_peak_memory_on_real_data_counts_what_lies_on_the_device(run, make_split, test_set):
    protocol = DSA.with_recipe(batch_size=4).model_copy(update={"real_epochs": 1})
    small, large = (
        evaluate_real(protocol, run(train=make_split(each=each)), test_set, NET, [0]).peak_bytes
        for each in (12, 120)
    )
    assert small > 0
    assert large - small >= 3 * 108 * 64

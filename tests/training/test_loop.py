"""The one training loop against a plain one, and its schedules against numbers done by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import Stopped
from ddkit.training import loop as training
from ddkit.training.loop import Position, accuracy, fit, seeded
from ddkit.training.recipe import Recipe

SIZE, BATCH = 20, 6
STEPS = 4  # 6 + 6 + 6 + 2 images


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SIZE, 5, generator=generator)
    return images, torch.randint(3, (SIZE,), generator=generator)


def batches(epoch: int):
    images, labels = inputs()
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(epoch))
    for rows in order.split(BATCH):
        yield images[rows], labels[rows]


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def recipe(**fields) -> Recipe:
    return Recipe(**{"epochs": 6, "lr": 0.05, "schedule": "constant", **fields})


def fitted(recipe: Recipe, model: nn.Module | None = None, **options) -> nn.Module:
    model = model or network()
    for _ in fit(model, batches, recipe, steps_per_epoch=STEPS, seed=0, **options):
        pass
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, others = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], others[name]) for name in mine)


@pytest.mark.parametrize(
    ("fields", "optimiser"),
    [
        (
            {"optimiser": "sgd", "momentum": 0.8, "weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.01),
        ),
        (
            {"optimiser": "adamw", "weight_decay": 0.01},
            lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.9, 0.999), weight_decay=0.01),
        ),
        (
            {"optimiser": "adam", "weight_decay": 0.01},
            lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.999), weight_decay=0.01),
        ),
    ],
    ids=["sgd", "adamw", "adam"],
)
@pytest.mark.parametrize("schedule", ["constant", "half"])
def test_fitting_is_a_plain_loop_bit_for_bit(fields, optimiser, schedule):
    found = fitted(recipe(schedule=schedule, **fields))
    plain = network()
    plain_optimiser = optimiser(plain.parameters())
    for epoch in range(6):
        lr = 0.05 * 0.1 if schedule == "half" and epoch >= 3 else 0.05
        for group in plain_optimiser.param_groups:
            group["lr"] = lr
        for images, labels in batches(epoch):
            plain_optimiser.zero_grad()
            F.cross_entropy(plain(images), labels).backward()
            plain_optimiser.step()
    assert same(found, plain)


@pytest.mark.parametrize(
    ("schedule", "epochs", "factors"),
    [
        ("constant", 10, {0: 1, 9.9: 1}),
        ("half", 10, {0: 1, 4.99: 1, 5: 0.1, 9.9: 0.1}),
        ("half", 5, {2.25: 1, 2.5: 0.1}),
        ("cosine", 8, {0: 1, 2: 0.8535533906, 4: 0.5, 6: 0.1464466094, 8: 0}),
        ("cosine:2", 4, {0: 1, 2: 0.8535533906, 4: 0.5}),
        ("step:3", 10, {0: 1, 2.9: 1, 3: 0.1, 5.5: 0.1, 6: 0.01, 9: 0.001}),
        ("exponential:0.01", 10, {0: 1, 5: 0.1, 10: 0.01}),
        ("exponential:1e-4", 4, {1: 0.1, 2: 0.01}),
    ],
)
def test_schedules_at_points_done_by_hand(schedule, epochs, factors):
    found = recipe(schedule=schedule, epochs=epochs)
    for epoch, factor in factors.items():
        assert found.factor(epoch) == pytest.approx(factor, abs=1e-9)


def test_a_rate_warms_up_and_falls_to_its_floor_at_steps_done_by_hand():
    found = recipe(schedule="cosine", epochs=250, warmup=500, floor=0.01)
    # four steps an epoch: warm from 0 to 1 in steps 0 … 500, then a cosine over 500 steps
    factors = {0: 0, 100: 0.2, 499: 0.998, 500: 1, 625: 0.01 + 0.99 * 0.8535533906, 750: 0.505}
    for step, factor in (factors | {1000: 0.01}).items():
        assert found.factor(step / 4, 4) == pytest.approx(factor, abs=1e-9)


def test_a_warm_up_takes_half_of_a_short_training():
    found = recipe(schedule="cosine", epochs=8, warmup=500)
    assert [found.factor(epoch) for epoch in (0, 2, 4, 6)] == pytest.approx([0, 0.5, 1, 0.5])


@pytest.mark.parametrize(
    ("images", "per_epoch", "epochs"),
    [(3, 1, 1000), (10, 1, 1000), (99, 1, 1000), (100, 2, 1000), (500, 4, 500), (500, 3, 667)],
)
def test_steps_follow_from_the_number_of_images(images, per_epoch, epochs):
    counted = recipe(steps=((10, 1000), (100, 2000)))
    found = counted.for_set(images, per_epoch)
    assert (found.epochs, found.steps) == (epochs, ())
    assert found.for_set(10, 1) == found


def test_recipes_are_stored_as_before_they_could_warm_up():
    stored = recipe().model_dump()
    assert set(stored) == {
        "epochs", "batch_size", "optimiser", "lr", "momentum", "weight_decay", "schedule",
    }  # fmt: skip
    assert recipe(warmup=3).model_dump()["warmup"] == 3


def test_the_schedule_moves_within_an_epoch():
    rates = []

    class Spy(torch.optim.SGD):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            super().step()

    class Watched(Recipe):
        def build(self, parameters):
            return Spy(parameters, lr=self.lr)

    fitted(Watched(epochs=2, lr=1e-3, schedule="cosine"))
    expected = [1.0, 0.9619397663, 0.8535533906, 0.6913417162]  # ½ (1 + cos(π k / 8))
    expected += [0.5, 0.3086582838, 0.1464466094, 0.0380602337]
    assert rates == pytest.approx([1e-3 * factor for factor in expected])


@pytest.mark.parametrize("schedule", ["", "cosin", "step:0", "step:", "half:3", "exponential:"])
def test_an_unknown_schedule_is_refused(schedule):
    with pytest.raises(ValidationError, match="schedule"):
        recipe(schedule=schedule)


def test_a_position_tells_how_far_it_is():
    positions = list(fit(network(), batches, recipe(epochs=2), steps_per_epoch=STEPS, seed=0))
    assert positions[0] == Position(1, 1, False)
    assert positions[3] == Position(4, 1, True)
    assert positions[7] == Position(8, 2, True)
    assert len(positions) == 8


def test_a_watcher_may_put_the_network_into_eval_mode():
    model = network()
    for _ in fit(model, batches, recipe(), steps_per_epoch=STEPS, seed=0):
        model.eval()
    assert same(model, fitted(recipe()))


class Frozen(nn.Sequential):
    """Its batch norm keeps the statistics that it has, in training too."""

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self[1].eval()
        return self


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.eval(),
        lambda model: model[2].eval(),
        lambda model: model[1].train(),
    ],
)
def test_layers_are_in_the_modes_of_the_network_whatever_a_watcher_does(change):
    def model() -> nn.Module:
        return Frozen(*network()[:2], nn.Dropout(0.5), network()[3])

    def trained(change):
        found = model()
        for position in fit(found, batches, recipe(), steps_per_epoch=STEPS, seed=0):
            if position.step in (3, 8):
                change(found)
        return found

    alone = trained(lambda model: None)
    assert same(trained(change), alone)
    assert torch.equal(alone[1].running_mean, network()[1].running_mean)


def test_the_last_epoch_cuts_the_schedule_off():
    short = fitted(recipe(schedule="cosine"), last_epoch=2)
    model = network()
    for position in fit(model, batches, recipe(schedule="cosine"), steps_per_epoch=STEPS, seed=0):
        if position.epoch == 2 and position.epoch_ends:
            break
    assert same(short, model)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("at", [1, 9, 14, 23])
def test_a_training_that_died_goes_on_to_the_same_bytes(tmp_path, monkeypatch, optimiser, at):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    plan = recipe(optimiser=optimiser, schedule="cosine")
    path = tmp_path / "checkpoint.safetensors"
    for position in fit(network(), batches, plan, steps_per_epoch=STEPS, seed=0, checkpoint=path):
        if position.step == at:
            break
    epochs = []

    def watched(epoch: int):
        epochs.append(epoch)
        return batches(epoch)

    model = network()
    for _ in fit(model, watched, plan, steps_per_epoch=STEPS, seed=0, checkpoint=path):
        pass
    assert epochs == list(range((at - 1) // STEPS, 6))
    assert same(model, fitted(plan))
    assert not path.exists()


def test_a_stop_is_obeyed_within_an_epoch_and_the_work_is_kept(tmp_path, request_stop):
    import ddkit.runtime.interrupt

    path = tmp_path / "checkpoint.safetensors"
    taken = []

    def stopping():
        for position in fit(
            network(), batches, recipe(), steps_per_epoch=STEPS, seed=0, checkpoint=path
        ):
            taken.append(position.step)
            if position.step == 6:
                request_stop()

    with pytest.raises(Stopped):
        stopping()
    assert taken == list(range(1, 7))
    ddkit.runtime.interrupt._requested.clear()
    assert same(fitted(recipe(), checkpoint=path), fitted(recipe()))


def test_a_stop_in_the_last_epoch_keeps_the_work_too(tmp_path, request_stop):
    import ddkit.runtime.interrupt

    path = tmp_path / "checkpoint.safetensors"

    def stopping():
        for position in fit(
            network(), batches, recipe(), steps_per_epoch=STEPS, seed=0, checkpoint=path
        ):
            if position.step == 6 * STEPS:
                request_stop()

    finished = True
    try:
        stopping()
    except Stopped:
        finished = False
    ddkit.runtime.interrupt._requested.clear()
    assert finished or path.exists()


def test_a_divergence_is_said_in_one_line():
    with pytest.raises(DdkitError) as caught:
        fitted(recipe(lr=1e30))
    assert str(caught.value) == (
        "training diverged in epoch 1 (the loss is not finite): "
        "lower the learning rate, which is 1e+30"
    )


def test_another_loss_may_be_trained_towards():
    def loss(logits, targets):
        return 2 * F.cross_entropy(logits, targets)

    doubled = fitted(recipe(momentum=0, weight_decay=0, epochs=1), loss=loss)
    faster = fitted(recipe(momentum=0, weight_decay=0, epochs=1, lr=0.1))
    for one, other in zip(doubled.parameters(), faster.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_accuracy_is_the_share_that_is_right_in_eval_mode():
    class Fixed(nn.Module):
        def forward(self, x):
            assert not self.training
            return x

    scores = torch.eye(4)
    truth = [(scores[:3], torch.tensor([0, 1, 0])), (scores[3:], torch.tensor([3]))]
    assert accuracy(Fixed(), iter(truth)) == 0.75
    assert accuracy(Fixed(), iter([])) == 0.0


def test_fitting_leaves_the_global_generators_alone():
    before = torch.get_rng_state()
    fitted(recipe(), copy.deepcopy(network()))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_network_draws_on_a_second_device_follows_from_the_seed(monkeypatch):
    first, second = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "default_generators", (first, second))
    before = [generator.get_state() for generator in (first, second)]
    with seeded(7, torch.device("cuda:1")):
        drawn = torch.rand(3, generator=second)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(7)))
    assert torch.equal(first.get_state(), before[0])
    assert torch.equal(second.get_state(), before[1])

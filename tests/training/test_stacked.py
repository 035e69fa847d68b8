"""Networks trained together against the same networks trained one after the other."""

import copy
from functools import partial
from math import isfinite

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddkit import networks
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import Stopped
from ddkit.training import loop as training
from ddkit.training.loop import Diverged, fit
from ddkit.training.recipe import Recipe
from ddkit.training.stacked import fit_together, speedup

K, STEPS, BATCH, CLASSES = 3, 4, 6, 5
SHAPE = (1, 8, 8)


def several(norm: str = "batch", count: int = K, width: int = 8) -> list[nn.Module]:
    """Make networks that begin differently."""
    spec = f"convnet:depth=2:width={width}:norm={norm}"
    return [
        networks.create(
            spec, classes=CLASSES, shape=SHAPE, generator=torch.Generator().manual_seed(seed)
        ).double()
        for seed in range(count)
    ]


def batches(epoch: int, count: int = K):
    """Serve every network images and labels of its own."""
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(STEPS):
        images = torch.randn(count, BATCH, *SHAPE, generator=generator, dtype=torch.float64)
        yield images, torch.randint(CLASSES, (count, BATCH), generator=generator)


def soft_batches(epoch: int):
    for images, labels in batches(epoch):
        yield images, F.one_hot(labels, CLASSES).double() * 0.7 + 0.3 / CLASSES


def recipe(**fields) -> Recipe:
    return Recipe(**{"epochs": 4, "lr": 0.05, "schedule": "cosine", **fields})


def together(models, plan: Recipe, serve=batches, **options) -> list[nn.Module]:
    for _ in fit_together(models, serve, plan, steps_per_epoch=STEPS, seed=0, **options):
        pass
    return models


def in_turn(models, plan: Recipe, serve=batches, **options) -> list[nn.Module]:
    for number, model in enumerate(models):
        for _ in fit(
            model, partial(own, serve, number), plan, steps_per_epoch=STEPS, seed=0, **options
        ):
            pass
    return models


def own(serve, number: int, epoch: int):
    return ((images[number], targets[number]) for images, targets in serve(epoch))


def states(models) -> list[dict[str, torch.Tensor]]:
    return [copy.deepcopy(model.state_dict()) for model in models]


def assert_close(found, expected, atol: float) -> None:
    for mine, others in zip(states(found), states(expected), strict=True):
        assert list(mine) == list(others)
        for name in mine:
            torch.testing.assert_close(mine[name], others[name], rtol=0, atol=atol, msg=name)


def same(found, expected) -> bool:
    return all(
        torch.equal(mine[name], others[name])
        for mine, others in zip(states(found), states(expected), strict=True)
        for name in mine
    )


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(
    ("fields", "atol"),
    [
        ({"optimiser": "sgd", "momentum": 0.9, "weight_decay": 0.01}, 1e-13),
        # a bias before a norm has no gradient but rounding, which Adam's division blows up
        ({"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.01}, 1e-7),
    ],
    ids=["sgd", "adamw"],
)
@pytest.mark.parametrize("schedule", ["cosine", "half"])
def test_each_network_is_trained_as_if_it_were_alone(norm, fields, atol, schedule):
    plan = recipe(schedule=schedule, **fields)
    assert_close(together(several(norm), plan), in_turn(several(norm), plan), atol)


def test_running_statistics_are_each_networks_own():
    models = together(several("batch"), recipe())
    layers = [networks.batch_norms(model)[0] for model in models]
    assert [int(layer.num_batches_tracked) for layer in layers] == [4 * STEPS] * K
    assert not torch.allclose(layers[0].running_mean, layers[1].running_mean)


def test_single_precision_agrees_up_to_rounding():
    def single(epoch):
        return ((images.float(), labels) for images, labels in batches(epoch))

    plan = recipe(epochs=2)
    found = together([model.float() for model in several()], plan, single)
    assert_close(found, in_turn([model.float() for model in several()], plan, single), 1e-5)


def test_another_loss_and_soft_targets_may_be_trained_towards():
    def loss(logits, targets):
        return -2 * (targets * logits.log_softmax(1)).sum(1).mean()

    found = together(several(), recipe(), soft_batches, loss=loss)
    assert_close(found, in_turn(several(), recipe(), soft_batches, loss=loss), 1e-13)


def test_the_networks_are_up_to_date_at_every_step():
    found, alone = several(), several()
    training = fit_together(found, batches, recipe(), steps_per_epoch=STEPS, seed=0)
    singles = [
        fit(model, partial(own, batches, number), recipe(), steps_per_epoch=STEPS, seed=0)
        for number, model in enumerate(alone)
    ]
    before = states(found)
    for position, *positions in zip(training, *singles, strict=True):
        assert positions == [position] * K
        assert_close(found, alone, 1e-13)
        for model in (*found, *alone):
            model.eval()  # a watcher may
    assert not torch.equal(before[0]["classifier.bias"], found[0].state_dict()["classifier.bias"])


def test_the_last_epoch_cuts_the_schedule_off():
    assert_close(
        together(several(), recipe(), last_epoch=2),
        in_turn(several(), recipe(), last_epoch=2),
        1e-13,
    )


def test_a_tensor_that_layers_share_stays_shared():
    def tied(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        first, second = nn.Linear(64, 64).double(), nn.Linear(64, 64).double()
        second.weight = first.weight
        return nn.Sequential(nn.Flatten(), first, nn.Tanh(), second)

    with torch.random.fork_rng(devices=[]):
        found, alone = ([tied(seed) for seed in range(K)] for _ in range(2))
    together(found, recipe())
    assert all(torch.equal(model[1].weight, model[3].weight) for model in found)
    assert_close(found, in_turn(alone, recipe()), 1e-13)


def dropping() -> list[nn.Module]:
    """Make equal networks with dropout."""
    model = nn.Sequential(several(count=1)[0], nn.Dropout(0.5))
    return [copy.deepcopy(model) for _ in range(K)]


def test_dropout_draws_for_each_network_from_the_seed():
    def equal_batches(epoch):
        return (
            (images[:1].repeat(K, 1, 1, 1, 1), labels[:1].repeat(K, 1))
            for images, labels in batches(epoch)
        )

    one, other, _ = together(dropping(), recipe(epochs=1), equal_batches)
    assert not torch.equal(one[0].classifier.weight, other[0].classifier.weight)
    again, *_ = reseeded = dropping()
    for _ in fit_together(reseeded, equal_batches, recipe(epochs=1), steps_per_epoch=STEPS, seed=1):
        pass
    assert not torch.equal(one[0].classifier.weight, again[0].classifier.weight)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("at", [1, 6, 15])
def test_a_training_that_died_goes_on_to_the_same_bytes(tmp_path, monkeypatch, optimiser, at):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    plan = recipe(optimiser=optimiser)
    path = tmp_path / "checkpoint.safetensors"
    for position in fit_together(
        dropping(), batches, plan, steps_per_epoch=STEPS, seed=0, checkpoint=path
    ):
        if position.step == at:
            break
    assert path.exists() == (at > 1)
    resumed = together(dropping(), plan, checkpoint=path)
    assert same(resumed, together(dropping(), plan))
    assert not path.exists()


def test_a_stop_is_obeyed_and_the_work_is_kept(tmp_path, request_stop):
    import ddkit.runtime.interrupt

    path = tmp_path / "checkpoint.safetensors"
    taken = []

    def stopping():
        for position in fit_together(
            dropping(), batches, recipe(), steps_per_epoch=STEPS, seed=0, checkpoint=path
        ):
            taken.append(position.step)
            if position.step == 6:
                request_stop()

    with pytest.raises(Stopped):
        stopping()
    assert taken == list(range(1, 7))
    ddkit.runtime.interrupt._requested.clear()
    steps = []
    resumed = dropping()
    for position in fit_together(
        resumed, batches, recipe(), steps_per_epoch=STEPS, seed=0, checkpoint=path
    ):
        steps.append(position.step)
    assert steps == list(range(7, 17))
    assert same(resumed, together(dropping(), recipe()))


@pytest.mark.parametrize("spoilt", range(K))
def test_one_network_that_diverges_is_said_in_one_line(spoilt):
    def diverging(epoch):
        for images, labels in batches(epoch):
            if epoch == 1:
                images[spoilt, 0] = float("inf")
            yield images, labels

    with pytest.raises(Diverged) as caught:
        together(several(), recipe(), diverging)
    assert str(caught.value) == (
        "training diverged in epoch 2 (the loss is not finite): "
        "lower the learning rate, which is 0.05"
    )


def test_networks_of_several_architectures_are_refused_in_one_line():
    with pytest.raises(DdkitError) as caught:
        together([*several(), *several(width=16)], recipe())
    assert str(caught.value) == (
        "networks that are trained together must have the same architecture: number 4 has "
        "(conv): Conv2d(1, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)) where number "
        "1 has (conv): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))"
    )


def test_the_same_tensors_in_other_layers_are_refused():
    with pytest.raises(DdkitError, match=r"number 2 has .*ReLU.* where number 1 has .*Tanh"):
        together(
            [nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.Sequential(nn.Linear(3, 3), nn.ReLU())],
            recipe(),
        )


def test_other_kinds_of_tensors_are_refused():
    one, other = several(count=2)
    with pytest.raises(DdkitError, match=r"number 2 has .*float32 .* number 1 has .*float64"):
        together([one, other.float()], recipe())


def test_the_speedup_is_measured_without_touching_the_networks():
    models = several()
    before = states(models)
    images, labels = next(batches(0))
    found = speedup(models, images, labels, recipe())
    assert isfinite(found)
    assert found > 0
    assert all(
        torch.equal(state[name], model.state_dict()[name])
        for state, model in zip(before, models, strict=True)
        for name in state
    )
    assert all(parameter.grad is None for model in models for parameter in model.parameters())


def test_a_network_that_cannot_be_batched_is_no_faster():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, CLASSES).double()

        def forward(self, x):
            logits = self.linear(x.flatten(1))
            return logits if logits.sum().item() > 0 else 2 * logits

    images, labels = next(batches(0))
    assert speedup([Branching() for _ in range(K)], images, labels, recipe()) == 0
    with pytest.raises(RuntimeError):  # and no fault of the images goes unnoticed
        speedup([Branching() for _ in range(K)], images[..., 1:], labels, recipe())

"""Steps towards flat minima: a quadratic by hand, what they leave alone, and k at once."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddkit import networks
from ddkit.training.loop import fit
from ddkit.training.recipe import Recipe
from ddkit.training.sharpness import climb, descent, flat, write_flat
from ddkit.training.stacked import fit_together

RATE, SHARPNESS, SURROGATE = 0.1, 0.3, 0.7


class Bowl(nn.Module):
    """Its loss is ½ θᵀAθ, whose gradient is Aθ; θ is held in two parameters."""

    def __init__(self, *, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
        self.matrix = root @ root.T
        theta = torch.randn(5, generator=generator, dtype=torch.float64)
        self.first = nn.Parameter(theta[:2].clone().view(2, 1))
        self.second = nn.Parameter(theta[2:].clone())
        self.unused = nn.Parameter(torch.ones(3, dtype=torch.float64))

    @property
    def theta(self) -> torch.Tensor:
        return torch.cat([self.first.flatten(), self.second])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.theta @ self.matrix @ self.theta + 0 * inputs.sum()


def recipe(**fields) -> Recipe:
    plain = {"epochs": 1, "lr": RATE, "momentum": 0, "weight_decay": 0, "schedule": "constant"}
    return Recipe(**{**plain, **fields})


def sharp(**fields) -> Recipe:
    return recipe(sharpness=SHARPNESS, surrogate=SURROGATE, **fields)


def stepped(plan: Recipe) -> torch.Tensor:
    """Return θ after one step in the bowl."""
    model = Bowl()
    nothing = torch.zeros(1, 1, dtype=torch.float64)
    for _ in fit(
        model,
        lambda epoch: iter([(nothing, nothing)]),
        plan,
        steps_per_epoch=1,
        seed=0,
        loss=lambda logits, targets: logits,
    ):
        pass
    assert torch.equal(model.unused, torch.ones(3, dtype=torch.float64))
    return model.theta.detach()


@pytest.mark.parametrize("surrogate", [0.0, SURROGATE])
def test_a_step_in_a_quadratic_is_its_closed_form(surrogate):
    """With α = 0 this is the step of adaptive SAM."""
    bowl = Bowl()
    matrix, theta = bowl.matrix.numpy(), bowl.theta.detach().numpy()
    slope = matrix @ theta
    reached = theta + SHARPNESS * theta**2 * slope / ((abs(theta) * slope) ** 2).sum() ** 0.5
    sharp = matrix @ reached
    norm, norm_sharp = (slope @ slope) ** 0.5, (sharp @ sharp) ** 0.5
    cosine = slope @ sharp / (norm * norm_sharp)
    across = slope - cosine * norm * sharp / norm_sharp
    expected = theta - RATE * (sharp - surrogate * across)
    found = stepped(recipe(sharpness=SHARPNESS, surrogate=surrogate))
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-10, atol=1e-12)


def test_the_gap_is_lowered_at_right_angles_to_the_sharp_slope():
    slopes, climbed = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).double()
    across = descent(slopes, climbed, 0.0) - descent(slopes, climbed, 1.0)
    assert across.norm(dim=1).min() > 1
    assert (across * climbed).sum(1).abs().max() < 1e-12
    # g along g_s leaves nothing at right angles
    assert (descent(3 * climbed, climbed, 1.0) - climbed).abs().max() < 1e-12


def test_without_a_slope_nothing_is_divided_by_zero():
    zero, weights = torch.zeros(1, 4), torch.ones(1, 4)
    assert torch.equal(climb(weights, zero, 0.5), zero)
    assert torch.equal(descent(zero, zero, 0.5), zero)


def test_tensors_become_rows_and_come_back_in_any_layout():
    image = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    tensors = [image, torch.randn(2)]
    rows = flat(tensors, 2)
    assert rows.shape == (2, 49)
    before = [tensor.clone() for tensor in tensors]
    write_flat(tensors, 2 * rows)
    assert all(torch.equal(now, 2 * was) for now, was in zip(tensors, before, strict=True))
    assert image.is_contiguous(memory_format=torch.channels_last)


K, STEPS, BATCH, CLASSES = 3, 3, 6, 4
SHAPE = (1, 8, 8)


def several(norm: str = "batch", count: int = K) -> list[nn.Module]:
    """Make networks that begin differently."""
    spec = f"convnet:depth=2:width=6:norm={norm}"
    return [
        networks.create(
            spec, classes=CLASSES, shape=SHAPE, generator=torch.Generator().manual_seed(seed)
        ).double()
        for seed in range(count)
    ]


def batches(epoch: int):
    """Serve every network images and labels of its own."""
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(STEPS):
        images = torch.randn(K, BATCH, *SHAPE, generator=generator, dtype=torch.float64)
        yield images, torch.randint(CLASSES, (K, BATCH), generator=generator)


def own(number: int, epoch: int):
    return ((images[number], labels[number]) for images, labels in batches(epoch))


def fitted(model: nn.Module, plan: Recipe, number: int = 0, **options) -> dict:
    serve = partial(own, number)
    for _ in fit(model, serve, plan, steps_per_epoch=STEPS, seed=0, **options):
        pass
    return model.state_dict()


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_sharpness_of_0_is_plain_sgd_to_the_byte():
    plain = fitted(several()[0], recipe(momentum=0.9, weight_decay=0.01))
    none = fitted(several()[0], recipe(momentum=0.9, weight_decay=0.01, surrogate=1.0))
    assert same(none, plain)
    assert not same(fitted(several()[0], sharp(momentum=0.9, weight_decay=0.01)), plain)
    assert recipe(sharpness=0.0).model_dump() == Recipe(**recipe().model_dump()).model_dump()
    assert "sharpness" not in recipe().model_dump()


def test_each_of_several_at_once_climbs_as_if_it_were_alone():
    found = several()
    for _ in fit_together(found, batches, sharp(epochs=2), steps_per_epoch=STEPS, seed=0):
        pass
    for number, (model, alone) in enumerate(zip(found, several(), strict=True)):
        expected = fitted(alone, sharp(epochs=2), number)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-12, msg=name)


def test_running_statistics_are_those_of_the_weights_before_the_climb():
    model, watched = several(count=1)[0], several(count=1)[0]
    watched.train()
    images, labels = next(own(0, 0))
    watched(images)
    for _ in fit(model, lambda epoch: iter([(images, labels)]), sharp(), steps_per_epoch=1, seed=0):
        pass
    assert same(dict(model.named_buffers()), dict(watched.named_buffers()))
    assert int(networks.batch_norms(model)[0].num_batches_tracked) == 1


class Dropping(nn.Module):
    """A linear network behind dropout that keeps what it dropped."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(30, 2)
        self.kept: list[torch.Tensor] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        seen = F.dropout(inputs, 0.5, self.training)
        self.kept.append(seen)
        return self.linear(seen)


def test_both_passes_of_a_step_drop_the_same_and_steps_differ():
    model, images, labels = Dropping(), torch.ones(4, 30), torch.zeros(4, dtype=torch.int64)
    serve = [(images, labels)] * 2
    for _ in fit(model, lambda epoch: iter(serve), sharp(), steps_per_epoch=2, seed=0):
        pass
    first, again, second, second_again = model.kept
    assert torch.equal(first, again)
    assert torch.equal(second, second_again)
    assert not torch.equal(first, second)


def test_a_training_that_died_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("ddkit.training.loop.CHECKPOINT_SECONDS", -1.0)
    plan, path = sharp(epochs=2, momentum=0.5), tmp_path / "checkpoint.safetensors"
    began = copy.deepcopy(several()[0])
    serve = partial(own, 0)
    for position in fit(began, serve, plan, steps_per_epoch=STEPS, seed=0, checkpoint=path):
        if position.step == 4:
            break
    assert path.exists()
    assert same(fitted(several()[0], plan, checkpoint=path), fitted(several()[0], plan))

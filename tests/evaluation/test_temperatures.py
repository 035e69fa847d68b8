"""Labels that cool and students with a temperature of their own, against the published steps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import protocol_for
from ddkit.evaluation.protocols import Protocol
from ddkit.evaluation.temperatures import Temperatures, best_temperature
from ddkit.evaluation.training import TrainingSet, create, train_on
from ddkit.labels import SoftLabels
from ddkit.training.recipe import Recipe

CPU = torch.device("cpu")
NET = "convnet:depth=1:width=4:norm=none"
ALIGNED = protocol_for("soft-aligned").with_recipe(epochs=10, schedule="constant")
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(4))


def weights(network) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in network.state_dict().values()])


def divergence(logits, probabilities, temperature):
    return F.kl_div((logits / temperature).log_softmax(1), probabilities, reduction="batchmean")


def test_labels_cool_by_a_factor_every_thirty_of_300_epochs_down_to_two():
    found = Temperatures(20.0, Recipe(epochs=300, cooling=0.7))
    expected = {0: 20, 29: 20, 30: 14, 60: 9.8, 179: 20 * 0.7**5, 180: 20 * 0.7**6, 210: 2, 299: 2}
    for epoch, temperature in expected.items():
        found.begin(epoch)
        assert found.teacher == found.student == pytest.approx(temperature)


def test_labels_that_are_cooler_from_the_start_stay_as_they_are():
    found = Temperatures(1.5, Recipe(epochs=10, cooling=0.7))
    found.begin(9)
    assert found.teacher == 1.5


@pytest.mark.parametrize("scale", [0.003, 0.05, 0.3, 3.0])
def test_the_students_temperature_is_the_lowest_of_all(scale):
    random = torch.Generator().manual_seed(1)
    logits = scale * torch.randn(2, 5, 4, generator=random, dtype=torch.float64)
    teacher = torch.randn(2, 5, 4, generator=random, dtype=torch.float64).softmax(-1)
    teacher = (teacher + 9 * logits.div(scale).softmax(-1)) / 10  # they agree on something
    found = best_temperature(logits, teacher)
    assert found.shape == (2, 1, 1)
    grid = np.geomspace(0.01, 1, 4001)
    for own, wanted, best in zip(logits, teacher, found.flatten(), strict=True):
        losses = [divergence(own, wanted, t).item() for t in grid]
        assert best.item() == pytest.approx(grid[int(np.argmin(losses))], rel=2e-3)


def test_it_is_the_published_loop_line_by_line(artifact):
    distilled = load(artifact(labels=SoftLabels(LOGITS, 20.0)))
    network = create(NET, distilled.class_names, distilled.shape, 0, CPU)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01)
    inputs, targets = distilled.inputs(torch.arange(6))
    student = 1.0
    for epoch in range(10):
        probabilities = (targets / max(20 * 0.7**epoch, 2)).softmax(1)
        logits = network(inputs)
        optimiser.zero_grad()
        divergence(logits, probabilities, student).backward()
        optimiser.step()
        student = float(best_temperature(logits.detach(), probabilities))
    found = weights(train_on(distilled, ALIGNED, NET, 0, CPU))
    assert torch.allclose(found, weights(network), atol=1e-5)
    plain = train_on(distilled, protocol_for("soft").with_recipe(epochs=10), NET, 0, CPU)
    assert not torch.allclose(found, weights(plain), atol=1e-3)


def test_classes_have_no_temperature(artifact):
    distilled = load(artifact())
    assert TrainingSet(distilled, ALIGNED, CPU).temperatures is None
    same = protocol_for("soft").with_recipe(epochs=10, schedule="constant")
    found, expected = (weights(train_on(distilled, p, NET, 0, CPU)) for p in (ALIGNED, same))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("change", [{"cooling": 0.7}, {"calibrated": True}])
@pytest.mark.parametrize("about", [{"labels": "hard"}, {"labels": "own", "loss": "l1"}])
def test_they_are_for_the_loss_of_soft_labels(change, about):
    with pytest.raises(ValidationError, match="cooling and calibrated are for soft labels"):
        Protocol(name="mine", recipe=Recipe(**change), **about)

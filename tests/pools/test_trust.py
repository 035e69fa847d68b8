"""Weights from elsewhere: of these classes, in this order, from these inputs, or one clear line."""

import pytest
import torch
from torch import nn

from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.pools.trust import best_order, sample, trained_accuracy
from ddkit.runtime.errors import DdkitError

CLASSES = 12


class Brightness(nn.Module):
    """Tells twelve grey levels of its inputs apart; `names` says which output stands for which."""

    def __init__(self, names=range(CLASSES), space=None):
        super().__init__()
        levels = (torch.arange(CLASSES) + 0.5) / CLASSES
        levels = levels.view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
        self.levels = nn.Parameter(
            (levels if space is None else space.encode(levels)).mean((1, 2, 3))
        )
        self.names = list(names)

    def forward(self, inputs):
        scores = -(inputs.mean((1, 2, 3))[:, None] - self.levels).abs()
        return scores[:, self.names]


@pytest.fixture
def train():
    """Return grey images of twelve levels, 30 of each."""
    labels = torch.arange(CLASSES).repeat(30)
    levels = (255 * (labels + 0.5) / CLASSES).round().to(torch.uint8)
    images = levels.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    return Split(images, labels, tuple(str(name) for name in range(CLASSES)))


@pytest.fixture
def space(train):
    return InputSpace.fit(train, "standard")


def test_weights_that_fit_are_measured(train, space):
    assert trained_accuracy(Brightness(space=space), train, space, "base.pt") == 1.0


def test_classes_sorted_as_numbers_there_and_as_text_here_are_told(train, space):
    texts = sorted(range(CLASSES), key=str)  # 0, 1, 10, 11, 2, …
    with pytest.raises(DdkitError) as caught:
        trained_accuracy(Brightness(texts, space), train, space, "base.pt")
    assert str(caught.value).startswith("base.pt gets 17% of 504 training images right, but 100% ")
    assert "sorted as numbers there, and as text here" in str(caught.value)
    assert "--trust-base" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_normalisation_is_told(train, space):
    with pytest.raises(DdkitError, match=r"100% with pixels of 0 to 1 as they are.*normalisation"):
        trained_accuracy(Brightness(), train, space, "base.pt")


def test_chance_is_told(train, space):
    class Same(Brightness):
        def forward(self, inputs):
            return torch.ones(len(inputs), 1) * torch.arange(CLASSES)

    with pytest.raises(DdkitError, match=r"gets 8% of 504 .* and chance is 8%: it was trained on"):
        trained_accuracy(Same(), train, space, "base.pt")


def test_a_poor_network_is_not_taken_for_one_of_another_order():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(100).repeat(5)
    predicted = torch.randint(100, (500,), generator=generator)
    _, reordered = best_order(predicted, labels, 100)
    assert reordered < 0.05  # and 0.5 on the images that the order was chosen on


def test_images_of_all_classes_are_looked_at_alike(train):
    rows, labels = sample(train)
    assert torch.equal(train.labels[rows], labels)
    assert torch.bincount(labels).tolist() == [42] * CLASSES
    few = train.subset(torch.arange(CLASSES))
    assert len(sample(few)[0]) == 504

"""The rules against examples by hand and plain loops."""

import pytest
import torch
from ddkit_selection.rules import RULES, distances, herding, k_center
from torch import Tensor

from ddkit.runtime.memory import PeakMemory


def herding_by_loop(features: Tensor, count: int) -> list[int]:
    mean = features.mean(0)
    order: list[int] = []
    for k in range(1, count + 1):
        left = [i for i in range(len(features)) if i not in order]
        means = {i: torch.stack([features[j] for j in [*order, i]]).sum(0) / k for i in left}
        order.append(min(left, key=lambda i: float((mean - means[i]).norm())))
    return order


def k_center_by_loop(features: Tensor, count: int) -> list[int]:
    mean = features.mean(0)
    everyone = range(len(features))
    order = [min(everyone, key=lambda i: float((features[i] - mean).norm()))]
    while len(order) < count:
        left = [i for i in everyone if i not in order]
        gaps = {i: min(float((features[i] - features[j]).norm()) for j in order) for i in left}
        order.append(max(left, key=lambda i: gaps[i]))
    return order


LOOPS = {"herding": herding_by_loop, "k-center": k_center_by_loop}
LINE = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]])  # their mean is 3.2


def test_herding_of_five_points_on_a_line_by_hand():
    # missing: 3.2, then 3.4, 4.6, 6.8 and the last
    assert herding(LINE, 5).tolist() == [3, 2, 1, 4, 0]


def test_k_center_of_five_points_on_a_line_by_hand():
    # nearest to 3.2; 7 away; 3 away; 1 and 2 are 1 away, the lower index first
    assert k_center(LINE, 5).tolist() == [3, 4, 0, 1, 2]


def test_herding_of_the_corners_of_a_square_goes_to_the_opposite_corner():
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert herding(corners, 2).tolist() == [0, 3]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(8))
def test_a_rule_chooses_as_a_plain_loop_does(rule, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    assert RULES[rule](features, 12).tolist() == LOOPS[rule](features, 12)


@pytest.mark.parametrize("rule", RULES)
def test_float32_features_far_from_zero_are_told_apart(rule):
    """A distance by way of a matrix product would lose these differences."""
    generator = torch.Generator().manual_seed(0)
    near = torch.randint(-8, 9, (30, 4), generator=generator).float() / 8
    far = near + 4096
    assert RULES[rule](far, 1).tolist() == RULES[rule](near, 1).tolist()
    assert torch.equal(distances(far, far[3]), distances(near, near[3]))


@pytest.mark.parametrize("rule", RULES)
def test_fewer_choices_are_the_beginning_of_more(rule):
    features = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    longest = RULES[rule](features, 50)
    for count in (1, 2, 10, 49):
        assert torch.equal(RULES[rule](features, count), longest[:count])


@pytest.mark.parametrize("rule", RULES)
def test_no_row_is_chosen_twice_though_rows_are_equal(rule):
    features = torch.randn(10, 3, generator=torch.Generator().manual_seed(2)).repeat(3, 1)
    order = RULES[rule](features, 30)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(30))


@pytest.mark.parametrize("rule", RULES)
def test_ties_go_to_the_lowest_index(rule):
    assert RULES[rule](torch.ones(70, 3), 70).tolist() == list(range(70))


@pytest.mark.parametrize("rule", RULES)
def test_memory_beside_the_features_grows_with_their_number_not_with_its_square(rule):
    features = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(3))
    with PeakMemory() as memory:
        RULES[rule](features, 3)
    assert memory.peak < features.nbytes  # one distance for each pair: 1.6 GB
    assert features.nbytes == 1_280_000

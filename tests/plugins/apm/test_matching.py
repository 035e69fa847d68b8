"""Eq. 4 and its gradient against plain autograd; its memory; the epochs that students are kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from ddkit_apm.distances import DISTANCES
from ddkit_apm.matching import checkpoint_epochs, prediction_matching
from torch import Tensor, nn

from ddkit import DdkitError, networks
from ddkit.runtime.memory import PeakMemory

CLASSES = 3

# each of two vectors of logits, as in the textbook
PLAIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda t, s: sum((a - b).abs() for a, b in zip(t, s, strict=True)) / len(t),
    "l2": lambda t, s: sum((a - b) ** 2 for a, b in zip(t, s, strict=True)) / len(t),
    "kl": lambda t, s: sum(
        p * torch.log(p / q) for p, q in zip(softmax(t), softmax(s), strict=True)
    ),
    "cosine": lambda t, s: 1 - t @ s / ((t @ t).sqrt() * (s @ s).sqrt()),
}


def softmax(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum()


@dataclass
class Problem:
    """What a matching gets: a mini-batch, a teacher and students."""

    inputs: Tensor
    classes: Tensor
    teacher: nn.Module
    students: list[nn.Module]

    def matched(self, distance: str = "l1", **options) -> tuple[Tensor, Tensor]:
        return prediction_matching(
            self.inputs, self.classes, self.teacher, self.students, DISTANCES[distance], **options
        )

    def plain(
        self, distance: str = "l1", alpha: float = 0.1, log: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return L_u and its gradient from one graph of all images and all students."""
        images = self.inputs.clone().requires_grad_()
        teacher = self.teacher(images)
        students = [student(images) for student in self.students]
        total = torch.zeros((), dtype=images.dtype)
        for i, label in enumerate(self.classes.tolist()):
            for student in students:
                d = PLAIN[distance](teacher[i], student[i])
                total = total - (torch.log(d + 1e-8) if log else d)
            total = total - alpha * torch.log(softmax(teacher[i])[label])
        loss = total / len(images)
        return loss.detach(), torch.autograd.grad(loss, images)[0]


def problem(
    students: int = 3,
    *,
    count: int = 8,
    network: str = "convnet:depth=2:width=4",
    shape: tuple[int, int, int] = (2, 8, 8),
    dtype: torch.dtype = torch.float64,
) -> Problem:
    random = torch.Generator().manual_seed(0)
    teacher, *others = (
        networks.create(network, classes=CLASSES, shape=shape, generator=random).to(dtype).eval()
        for _ in range(1 + students)
    )
    for one in (teacher, *others):  # logits of trained networks are as far from each other
        one.classifier.weight.data *= 5
    inputs = torch.randn(count, *shape, generator=random, dtype=dtype)
    return Problem(inputs, torch.randint(CLASSES, (count,), generator=random), teacher, others)


def assert_equal_to(
    found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], tolerance: float
) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert other.abs().sum() > 0
        assert (one - other).norm() < tolerance * other.norm()


@pytest.mark.parametrize(
    ("distance", "teacher", "student", "expected"),
    [
        ("l1", [1.0, 2.0, 3.0], [2.0, 0.0, 3.0], 1.0),  # the mean of 1, 2 and 0
        ("l2", [1.0, 2.0, 3.0], [2.0, 0.0, 3.0], 5 / 3),  # the mean of 1, 4 and 0
        ("cosine", [1.0, 2.0, 3.0], [2.0, 0.0, 3.0], 1 - 11 / math.sqrt(14 * 13)),
        ("cosine", [1.0, 0.0], [-2.0, 0.0], 2.0),
        # of 1/2, 1/4, 1/4 from 1/4, 1/4, 1/2: (ln 2)/2 - (ln 2)/4
        ("kl", [math.log(2), 0.0, 0.0], [5.0, 5.0, 5 + math.log(2)], math.log(2) / 4),
        ("kl", [math.log(3), 0.0], [0.0, 0.0], 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        ("kl", [0.0, 0.0], [math.log(3), 0.0], 0.5 * math.log(2 / 3) + 0.5 * math.log(2)),
    ],
)
def test_a_distance_has_its_value_for_every_image_apart(distance, teacher, student, expected):
    pair = torch.tensor([teacher, student], dtype=torch.float64)
    images = torch.stack([pair[0], pair[1], pair[0]]), torch.stack([pair[1], pair[1], pair[1]])
    found = DISTANCES[distance](*images)
    assert found.tolist() == pytest.approx([expected, 0.0, expected], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("students", [1, 3])
def test_loss_and_gradient_are_autograd_through_equation_4(distance, alpha, log, students):
    posed = problem(students, count=5)
    expected = posed.plain(distance, alpha, log)
    found = posed.matched(distance, alpha=alpha, log=log, segment=2)
    assert found[0].shape == ()
    assert_equal_to(found, expected, 1e-10)


class Fixed(nn.Module):
    """Logits that are the first pixels of an image, times a factor for each."""

    def __init__(self, *factors: float):
        super().__init__()
        self.factors = torch.tensor(factors, dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, : len(self.factors)] * self.factors.to(images.dtype)


def test_the_loss_of_two_images_by_hand():
    """Distances 1 and 2 to one student, 2 and 4 to the other; both teacher's logits are equal."""
    inputs = torch.tensor([[1.0, 1.0], [2.0, 2.0]], dtype=torch.float64).view(2, 1, 1, 2)
    classes = torch.tensor([0, 1])
    networks_ = [Fixed(1, 1), Fixed(2, 2), Fixed(3, 3)]
    posed = Problem(inputs, classes, networks_[0], networks_[1:])
    entropies = 2 * math.log(2)
    loss, _ = posed.matched(alpha=0.5)
    assert loss.item() == pytest.approx((-math.log(1 * 2 * 2 * 4) + 0.5 * entropies) / 2, rel=1e-7)
    loss, _ = posed.matched(alpha=0.5, log=False)
    assert loss.item() == pytest.approx((-(1 + 2 + 2 + 4) + 0.5 * entropies) / 2, rel=1e-12)


def test_the_defaults_are_those_of_the_paper():
    posed = problem()
    assert torch.equal(posed.matched()[1], posed.matched(alpha=0.1, log=True, segment=0)[1])


@pytest.mark.parametrize("apart", [0.0, 1e-8, 3e-8])
def test_epsilon_is_inside_the_logarithm(apart):
    """With logits that agree the slope is finite, and as steep as a distance of 1e-8 makes it."""
    inputs = torch.ones(2, 1, 1, 2, dtype=torch.float64)
    posed = Problem(inputs, torch.tensor([0, 1]), Fixed(1, 1), [Fixed(1 + apart, 1 + apart)])
    loss, gradient = posed.matched(alpha=0.0)
    assert loss.item() == pytest.approx(-math.log(apart + 1e-8), rel=1e-6)
    # the distance is apart · (u_1 + u_2) / 2, of a mini-batch of two
    slope = -apart / (apart + 1e-8) / 2 / 2
    assert gradient.flatten().tolist() == pytest.approx([slope] * 4, rel=1e-6)


@pytest.mark.parametrize("distance", ["l1", "l2", "kl", "cosine"])
def test_logits_that_agree_but_for_rounding_have_a_finite_loss(distance):
    """A network that is sure of a class, and a student that is as good as sure."""
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 1, 1, 4, generator=random)
    inputs[:, 0, 0, 0] += 20
    for factor in (1.0, 1 + 1e-6, 0.9):
        students = [Fixed(factor, factor, factor, factor)]
        posed = Problem(inputs, torch.zeros(50).long(), Fixed(1, 1, 1, 1), students)
        loss, gradient = posed.matched(distance)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("segment", [1, 3, 7, 8, 50])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("distance", ["l1", "kl"])
def test_segments_add_up_to_the_whole(segment, dtype, tolerance, distance):
    posed = problem(dtype=dtype)
    whole = posed.matched(distance, segment=0)
    assert whole[1].dtype == dtype
    assert_equal_to(posed.matched(distance, segment=segment), whole, tolerance)


@pytest.mark.parametrize("segment", [0, 3])
def test_an_image_counts_by_its_share_of_the_batch_and_never_moves_another(segment):
    posed = problem(count=4)
    all_gradients = posed.matched(segment=segment)[1]
    for row in range(4):
        alone = Problem(
            posed.inputs[row : row + 1], posed.classes[row : row + 1], posed.teacher, posed.students
        )
        torch.testing.assert_close(all_gradients[row] * 4, alone.matched()[1][0])


def test_nothing_that_was_given_is_changed_and_no_weight_gets_a_gradient():
    posed = problem()
    weights = [p for network in (posed.teacher, *posed.students) for p in network.parameters()]
    assert all(weight.requires_grad for weight in weights)
    given = [*weights, posed.inputs, posed.classes]
    before = [tensor.detach().clone() for tensor in given]
    found = posed.matched(segment=3)
    assert all(torch.equal(a.detach(), b) for a, b in zip(given, before, strict=True))
    assert all(tensor.grad is None for tensor in given)
    assert not posed.inputs.requires_grad
    assert not any(tensor.requires_grad for tensor in found)


def test_inputs_that_are_a_leaf_get_no_gradient_of_their_own():
    posed = problem()
    expected = posed.matched()[1]
    posed.inputs.requires_grad_()
    found = posed.matched()[1]
    assert torch.equal(found, expected)
    assert posed.inputs.grad is None
    assert not found.requires_grad


@pytest.mark.parametrize(("segment", "segments"), [(0, 1), (8, 1), (3, 3), (1, 8)])
@pytest.mark.parametrize("students", [1, 3])
def test_each_network_looks_at_each_image_once(segment, segments, students):
    posed = problem(students)
    seen: list[list[int]] = []
    for network in (posed.teacher, *posed.students):
        sizes: list[int] = []
        seen.append(sizes)
        network.register_forward_hook(lambda _, given, __, sizes=sizes: sizes.append(len(given[0])))
    posed.matched(segment=segment)
    assert [len(sizes) for sizes in seen] == [segments] * (1 + students)
    assert [sum(sizes) for sizes in seen] == [8] * (1 + students)


def peak(students: int, count: int, segment: int) -> int:
    posed = problem(
        students,
        count=count,
        network="convnet:depth=1:width=16",
        shape=(1, 16, 16),
        dtype=torch.float32,
    )
    for network in (posed.teacher, *posed.students):
        network.requires_grad_(False)
    with PeakMemory() as memory:
        posed.matched(segment=segment)
    return memory.peak - posed.inputs.nbytes  # what the gradient takes


def test_memory_falls_with_the_segment():
    whole, half, eighth = (peak(2, 64, segment) for segment in (0, 32, 8))
    assert half == pytest.approx(whole / 2, rel=0.1)
    assert eighth == pytest.approx(whole / 8, rel=0.1)


def test_memory_does_not_grow_with_the_students():
    assert peak(9, 16, 0) == pytest.approx(peak(2, 16, 0), rel=0.01)
    assert peak(2, 16, 0) == pytest.approx(peak(1, 16, 0), rel=0.05)


def test_memory_does_not_grow_with_the_mini_batch():
    assert peak(2, 64, 8) == pytest.approx(peak(2, 16, 8), rel=0.01)
    assert peak(2, 16, 8) == pytest.approx(peak(2, 8, 8), rel=0.1)


def test_memory_of_one_graph_of_all_terms_grows_with_the_students():
    """What the figures above are worth: the same measure sees what plain autograd keeps."""

    def plain(students: int) -> int:
        posed = problem(
            students,
            count=16,
            network="convnet:depth=1:width=16",
            shape=(1, 16, 16),
            dtype=torch.float32,
        )
        with PeakMemory() as memory:
            posed.plain()
        return memory.peak

    assert plain(9) > 2.5 * plain(2)


@pytest.mark.parametrize(
    ("epochs", "checkpoints", "expected"),
    [
        (250, 5, [50, 100, 150, 200, 250]),
        (6, 3, [2, 4, 6]),
        (4, 4, [1, 2, 3, 4]),
        (4, 1, [4]),
        (1, 1, [1]),
        # 2.75, 5.5, 8.25, 11: Python rounds a half to the even number, which is 6
        (11, 4, [3, 6, 8, 11]),
        (5, 2, [2, 5]),  # 2.5: to the even number again
        (5, 4, [1, 2, 4, 5]),  # 1.25, 2.5, 3.75, 5
        (7, 5, [1, 3, 4, 6, 7]),  # 1.4, 2.8, 4.2, 5.6, 7
    ],
)
def test_students_are_kept_every_kth_part_of_their_epochs(epochs, checkpoints, expected):
    assert checkpoint_epochs(epochs, checkpoints) == expected


def test_there_are_as_many_checkpoints_as_asked_for_and_the_last_is_the_end():
    for epochs in range(1, 40):
        for checkpoints in range(1, epochs + 1):
            kept = checkpoint_epochs(epochs, checkpoints)
            assert len(set(kept)) == checkpoints
            assert kept == sorted(kept)
            assert kept[0] >= 1
            assert kept[-1] == epochs


def test_more_checkpoints_than_epochs_are_refused():
    with pytest.raises(DdkitError) as error:
        checkpoint_epochs(3, 4)
    assert str(error.value) == (
        "student_epochs=3 is too few for checkpoints=4, at most one per epoch: raise "
        "student_epochs or lower checkpoints"
    )

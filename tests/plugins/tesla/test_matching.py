"""The loss and its gradients, against autograd through all steps, written out plainly."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from ddkit_tesla.matching import Batch, Matched, match
from ddkit_tesla.students import Snapshots, Students, as_function
from torch import Tensor, nn
from torch.func import functional_call

from ddkit import networks
from ddkit.data.augmentation.dsa import DSA_STRATEGY, apply_dsa, draw_dsa
from ddkit.runtime.memory import PeakMemory

CLASSES = 3
CONVNET = "convnet:depth=2:width=4"
SHALLOW = "convnet:depth=1:width=4"


@dataclass
class Problem:
    """What a matching gets, and the plain loss of a student on one of its batches."""

    network: nn.Module
    start: list[Tensor]
    target: list[Tensor]
    batches: list[Batch]
    images: Tensor
    labels: Tensor
    rate: Tensor

    def matched(self, **options) -> Matched:
        function = as_function(self.network)
        labels, rate = self.labels, self.rate
        return match(
            function, self.start, self.target, self.batches, self.images, labels, rate, **options
        )

    def gradient(self, student: list[Tensor], step: int) -> list[Tensor]:
        """Return g of `student` on the batch of `step`, with its graph."""
        rows, augmentation = self.batches[step].rows, self.batches[step].augmentation
        inputs = self.images[rows]
        if augmentation is not None:
            inputs = apply_dsa(inputs, augmentation)
        names = [name for name, _ in self.network.named_parameters()]
        logits = functional_call(self.network, dict(zip(names, student, strict=True)), inputs)
        loss = F.cross_entropy(logits, self.labels[rows])
        return list(torch.autograd.grad(loss, student, create_graph=True))

    def distance(self, student: list[Tensor]) -> Tensor:
        """Return Eq. 1 for a student that has taken its steps."""
        numerator = sum(
            ((own - goal) ** 2).sum() for own, goal in zip(student, self.target, strict=True)
        )
        return numerator / sum(
            ((own - goal) ** 2).sum() for own, goal in zip(self.start, self.target, strict=True)
        )

    def unrolled(self) -> list[Tensor]:
        """Return loss and gradients by autograd through the graph of all steps."""
        student = leaves(self.start)
        for step in range(len(self.batches)):
            slopes = self.gradient(student, step)
            student = [own - self.rate * g for own, g in zip(student, slopes, strict=True)]
        loss = self.distance(student)
        return [loss.detach(), *torch.autograd.grad(loss, self.through())]

    def trajectory(self) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Return θ_0 … θ_{T−1} and g_0 … g_{T−1}, as constants."""
        student, students, slopes = leaves(self.start), [], []
        for step in range(len(self.batches)):
            students.append(student)
            slopes.append([g.detach() for g in self.gradient(student, step)])
            student = leaves(
                own - self.rate.detach() * g for own, g in zip(student, slopes[-1], strict=True)
            )
        return students, slopes

    def through(self) -> list[Tensor]:
        soft = self.labels.requires_grad
        return [self.images, *([self.labels] if soft else []), self.rate]


def problem(
    steps: int = 5,
    *,
    network: nn.Module | str = CONVNET,
    size: int = 7,
    count: int = 12,
    shape: tuple[int, int, int] = (2, 8, 8),
    rate: float = 0.1,
    hard: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    strategy: str = DSA_STRATEGY,
) -> Problem:
    """Return a matching on noise; batches are drawn apart, so that they overlap."""
    random = torch.Generator().manual_seed(seed)
    if isinstance(network, str):
        network = networks.create(network, classes=CLASSES, shape=shape, generator=random)
    network = network.to(dtype)
    start = [p.detach().clone() for p in network.parameters()]
    batches = [
        Batch(
            torch.randperm(count, generator=random)[:size],
            draw_dsa(size, shape[1:], random, strategy=strategy),
        )
        for _ in range(steps)
    ]
    labels = torch.randint(CLASSES, (count,), generator=random)
    if not hard:
        scores = torch.randn(count, CLASSES, generator=random, dtype=dtype)
        labels = torch.softmax(scores, 1).requires_grad_()
    return Problem(
        network,
        start,
        [p + 0.1 * torch.randn(p.shape, generator=random, dtype=dtype) for p in start],
        batches,
        torch.randn(count, *shape, generator=random, dtype=dtype).requires_grad_(),
        labels,
        torch.tensor(rate, dtype=dtype, requires_grad=True),
    )


def leaves(tensors) -> list[Tensor]:
    return [tensor.detach().requires_grad_() for tensor in tensors]


def values(matched: Matched) -> list[Tensor]:
    parts = [matched.loss, matched.images, matched.labels, matched.learning_rate]
    return [part for part in parts if part is not None]


def difference(found: Tensor, expected: Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖."""
    return float((found - expected).norm() / expected.norm())


def assert_equal_to(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert other.abs().sum() > 0
        assert difference(one, other) < tolerance


def assert_bitwise_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("micro_batch", [0, 3])  # parts of 3, 3 and 1 of 7 images
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_exact_is_autograd_through_all_steps(steps, micro_batch):
    posed = problem(steps)
    found = values(posed.matched(micro_batch=micro_batch))
    assert_equal_to(found, posed.unrolled(), 1e-10)


@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_paper_is_autograd_of_equation_3_with_all_other_gradients_constant(steps, micro_batch):
    posed = problem(steps)
    students, slopes = posed.trajectory()
    images, labels = torch.zeros_like(posed.images), torch.zeros_like(posed.labels)
    for step, student in enumerate(students):
        terms = [*slopes[:step], posed.gradient(student, step), *slopes[step + 1 :]]
        loss = posed.distance(equation_3(posed, terms))
        derived = torch.autograd.grad(loss, [posed.images, posed.labels])
        images, labels = images + derived[0], labels + derived[1]
    loss = posed.distance(equation_3(posed, slopes))
    (rate,) = torch.autograd.grad(loss, posed.rate)
    found = values(posed.matched(gradient="paper", micro_batch=micro_batch))
    assert_equal_to(found, [loss.detach(), images, labels, rate], 1e-10)


def equation_3(posed: Problem, slopes: list[list[Tensor]]) -> list[Tensor]:
    """Return θ_T = θ_0 − β Σ_j g_j."""
    return [own - posed.rate * sum(parts) for own, *parts in zip(posed.start, *slopes, strict=True)]


def test_paper_is_equation_5_with_both_factors_of_two_that_the_print_drops():
    """∂/∂x_i = β² ∂‖g_i‖² − 2β (θ_0 − θ*)ᵀ ∂g_i + 2β² (G − g_i)ᵀ ∂g_i, over ‖θ_0 − θ*‖²."""
    posed = problem(5)
    students, slopes = posed.trajectory()
    total = torch.stack([flat(g) for g in slopes]).sum(0)  # G
    path = flat(posed.start) - flat(posed.target)
    beta = posed.rate.detach()
    images, labels = torch.zeros_like(posed.images), torch.zeros_like(posed.labels)
    for step, student in enumerate(students):
        g = flat(posed.gradient(student, step))
        others = (total - g).detach()
        terms = beta**2 * g @ g - 2 * beta * path @ g + 2 * beta**2 * others @ g
        derived = torch.autograd.grad(terms / (path @ path), [posed.images, posed.labels])
        images, labels = images + derived[0], labels + derived[1]
    found = posed.matched(gradient="paper")
    assert_equal_to([found.images, found.labels], [images, labels], 1e-10)


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_paper_is_not_exact_beyond_one_step(steps):
    posed = problem(steps)
    exact, paper = posed.matched(), posed.matched(gradient="paper")
    assert torch.equal(exact.loss, paper.loss)
    assert difference(paper.images, exact.images) > 1e-3
    assert difference(paper.labels, exact.labels) > 1e-3
    assert difference(paper.learning_rate, exact.learning_rate) > 1e-3


def test_paper_is_exact_for_one_step():
    posed = problem(1)
    assert_bitwise_equal(values(posed.matched(gradient="paper")), values(posed.matched()))


def test_classes_are_labels_too_and_get_no_gradient():
    posed = problem(5, hard=True)
    found = posed.matched(micro_batch=3)
    assert found.labels is None
    assert_equal_to(values(found), posed.unrolled(), 1e-10)


def test_probabilities_that_are_constants_get_no_gradient():
    posed = problem(5)
    images = posed.unrolled()[1]
    posed.labels = posed.labels.detach()
    found = posed.matched()
    assert found.labels is None
    assert difference(found.images, images) < 1e-10


@pytest.mark.parametrize("size", [7, 12])
def test_without_augmentation(size):
    posed = problem(5, size=size)
    posed.batches = [Batch(batch.rows) for batch in posed.batches]
    assert_equal_to(values(posed.matched(micro_batch=5)), posed.unrolled(), 1e-10)


def test_batches_may_differ_in_size():
    posed = problem(3)
    for step, size in enumerate((7, 4, 1)):
        batch = posed.batches[step]
        posed.batches[step] = Batch(batch.rows[:size], batch.augmentation[:size])
    assert_equal_to(values(posed.matched(micro_batch=3)), posed.unrolled(), 1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("gradient", ["exact", "paper"])
@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_parts_of_a_batch_add_up_to_the_whole(micro_batch, gradient, dtype, tolerance):
    posed = problem(5, size=8, dtype=dtype)
    whole = values(posed.matched(gradient=gradient))
    parts = values(posed.matched(gradient=gradient, micro_batch=micro_batch))
    assert_equal_to(parts, whole, tolerance)


def test_a_batch_is_cut_with_its_augmentation():
    rows = torch.tensor([4, 2, 9, 0, 7])
    batch = Batch(rows, draw_dsa(5, (8, 8), torch.Generator().manual_seed(0)))
    parts = list(batch.parts(2))
    assert [part.rows.tolist() for part in parts] == [[4, 2], [9, 0], [7]]
    ((operation, whole),) = batch.augmentation.steps
    assert {part.augmentation.operation for part in parts} == {operation}
    assert torch.equal(torch.cat([part.augmentation.steps[0][1] for part in parts]), whole)
    assert [part.rows.tolist() for part in batch.parts(0)] == [rows.tolist()]
    assert [part.rows.tolist() for part in batch.parts(50)] == [rows.tolist()]


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("where", ["device", "host"])
def test_how_students_are_kept_changes_no_bit(steps, where):
    posed = problem(steps, network=SHALLOW, dtype=torch.float32)
    expected = values(posed.matched(micro_batch=3))
    for every in (1, 2, 3, 0, 50):
        found = values(posed.matched(micro_batch=3, snapshots=Snapshots(where, every)))
        assert_bitwise_equal(found, expected)


@pytest.mark.parametrize("gradient", ["exact", "paper"])
@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("steps", [1, 5])
def test_kept_graphs_change_no_bit(steps, micro_batch, gradient):
    posed = problem(steps, network=SHALLOW, dtype=torch.float32)
    options = {"micro_batch": micro_batch, "gradient": gradient}
    expected = values(posed.matched(**options))
    for count in (1, 4, 50):
        for snapshots in (Snapshots(), Snapshots("host", 2), Snapshots(every=0)):
            found = posed.matched(**options, kept_graphs=count, snapshots=snapshots)
            assert_bitwise_equal(values(found), expected)


@pytest.mark.parametrize(("kept", "repeated"), [(0, 7), (1, 6), (3, 4), (7, 0), (50, 0)])
def test_steps_whose_graphs_are_kept_are_not_repeated(kept, repeated):
    posed, calls = problem(7), []
    student = as_function(posed.network)

    def counted(parameters: list[Tensor], inputs: Tensor) -> Tensor:
        calls.append(len(inputs))
        return student(parameters, inputs)

    match(
        counted,
        posed.start,
        posed.target,
        posed.batches,
        posed.images,
        posed.labels,
        posed.rate,
        kept_graphs=kept,
        micro_batch=4,
    )
    assert calls == [4, 3] * (7 + repeated)


@pytest.mark.parametrize("every", [1, 2, 3, 0, 50])
def test_students_come_back_in_reverse(every):
    path = [[torch.tensor(float(step**2))] for step in range(8)]
    students = Students(path[0], 7, lambda _, step: path[step + 1], Snapshots(every=every))
    assert students.last == path[7]
    served = [(step, student[0].item()) for step, student in students.backwards()]
    assert served == [(step, step**2) for step in range(6, -1, -1)]


@pytest.mark.parametrize("every", [1, 3])
def test_a_student_that_was_served_is_not_kept(every):
    students = Students(
        [torch.zeros(1)], 7, lambda student, _: [student[0] + 1], Snapshots(every=every)
    )
    served = []
    for _, student in students.backwards():
        assert not any(tensor() is not None for tensor in served)
        served.append(weakref.ref(student[0]))
        del student
    assert len(served) == 7


@pytest.mark.parametrize("gradient", ["exact", "paper"])
def test_images_in_no_batch_have_no_gradient(gradient):
    posed = problem(2, size=4)
    found = posed.matched(gradient=gradient)
    seen = torch.cat([batch.rows for batch in posed.batches]).unique()
    unseen = [row for row in range(12) if row not in seen.tolist()]
    assert unseen
    assert not found.images[unseen].any()
    assert not found.labels[unseen].any()
    assert found.images[seen].flatten(1).any(1).all()
    assert found.labels[seen].any(1).all()


def test_batch_norms_use_the_statistics_of_the_batch_and_keep_none():
    posed = problem(5, network=CONVNET + ":norm=batch")
    norms = networks.batch_norms(posed.network)
    for norm in norms:  # as if trained: its running statistics would show
        norm.running_mean.add_(1.0)
        norm.running_var.mul_(4.0)
    before = {name: tensor.clone() for name, tensor in posed.network.state_dict().items()}
    found = values(posed.matched())
    after = posed.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert posed.network.training
    assert all(norm.track_running_stats for norm in norms)
    assert_equal_to(found, posed.unrolled(), 1e-10)  # in train mode: with batch statistics


def test_dropout_is_off_so_that_a_student_repeats_its_steps():
    def network(chance: float) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(128, 16), nn.Tanh(), nn.Dropout(chance), nn.Linear(16, CLASSES)
        )

    posed = problem(5, network=network(0.5))
    found = values(posed.matched())
    assert_bitwise_equal(values(posed.matched(snapshots=Snapshots(every=2))), found)
    posed.network = network(0.0).double()
    assert_equal_to(found, posed.unrolled(), 1e-10)


def test_the_gradient_of_the_learning_rate_is_that_of_finite_differences():
    posed = problem(5)
    step = 1e-6

    def loss(rate: float) -> float:
        return float(replace(posed, rate=torch.tensor(rate, dtype=torch.float64)).matched().loss)

    expected = (loss(0.1 + step) - loss(0.1 - step)) / (2 * step)
    assert posed.matched().learning_rate.item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_a_student_that_does_not_move_is_one():
    posed = problem(3, rate=0.0)
    assert posed.matched().loss.item() == pytest.approx(1.0, rel=1e-12)


def test_nothing_that_was_given_is_changed():
    posed = problem(5, dtype=torch.float32)
    given = [*posed.start, *posed.target, posed.images, posed.labels, posed.rate]
    before = [tensor.detach().clone() for tensor in given]
    posed.matched(micro_batch=3, snapshots=Snapshots(every=2))
    assert_bitwise_equal([tensor.detach() for tensor in given], before)
    assert all(tensor.grad is None for tensor in given)
    assert [tensor.requires_grad for tensor in given[-3:]] == [True, True, True]
    assert not any(tensor.requires_grad for tensor in posed.start + posed.target)


def test_results_carry_no_graph():
    assert not any(tensor.requires_grad for tensor in values(problem(2).matched()))


WIDE = "convnet:depth=1:width=16"


def peak(work: Callable[[], object]) -> int:
    with PeakMemory() as memory:
        work()
    return memory.peak


def size_of(posed: Problem) -> int:
    return sum(tensor.nbytes for tensor in posed.start)


def memory_problem(steps: int) -> Problem:
    """Return a problem with one operation in all steps: each has a peak of its own."""
    form = {"network": WIDE, "shape": (1, 16, 16), "size": 8, "count": 16}
    return problem(steps, **form, dtype=torch.float32, strategy="rotate")


@pytest.mark.parametrize("gradient", ["exact", "paper"])
def test_memory_beyond_the_students_does_not_grow_with_the_steps(gradient):
    def beyond(steps: int) -> int:
        posed = memory_problem(steps)
        return peak(lambda: posed.matched(gradient=gradient)) - steps * size_of(posed)

    assert beyond(15) == pytest.approx(beyond(3), rel=0.05)


def test_memory_of_full_unrolling_grows_with_the_steps():
    """What the figure above is worth: the same measure sees the graphs of all steps here."""
    short, long = (memory_problem(steps) for steps in (3, 15))
    assert peak(long.unrolled) > 4 * peak(short.unrolled)
    assert peak(long.unrolled) > 4 * peak(long.matched)


def test_every_root_of_t_keeps_few_students():
    def growth(every: int) -> float:
        short, long = (memory_problem(steps) for steps in (4, 16))
        snapshots = Snapshots(every=every)
        peaks = [peak(lambda p=p: p.matched(snapshots=snapshots)) for p in (short, long)]
        return (peaks[1] - peaks[0]) / size_of(long)

    assert growth(1) == pytest.approx(12, rel=0.02)  # one student for each step
    assert growth(0) < 6  # 4 + 4 students instead of 2 + 2


def test_parts_of_a_batch_take_as_much_less_memory():
    posed = problem(2, network=WIDE, shape=(1, 16, 16), size=64, count=64, dtype=torch.float32)
    whole, parts = (peak(lambda m=m: posed.matched(micro_batch=m)) for m in (0, 8))
    assert whole > 4 * parts

"""One round and several of them, against loops by hand; groups; what a kill changes."""

from dataclasses import replace

import pytest
import torch
from ddkit_apm.objective import ApmObjective
from ddkit_apm.students import train_student
from ddkit_apm.teachers import members
from torch import Tensor, nn

from ddkit import DdkitError, Pool, Run
from ddkit.distilled.dataset import load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime import interrupt
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.seeds import derive
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.initial import initial_real

pytestmark = pytest.mark.usefixtures("shared_pools")
BATCH_NORM = "convnet:depth=1:width=8:norm=batch"
SHORT = ("student_epochs=1", "checkpoints=1")  # where students do not matter


def objective_of(run: Run) -> ApmObjective:
    return ApmObjective(run, stage_pools.open_pool(run, "synthesis"))


def start_of(run: Run) -> Tensor:
    """Return the images of a run before the first round, as network inputs."""
    return (initial_real(run) - run.space.mean) / run.space.std


def students_of(objective: ApmObjective) -> tuple[int, list[dict[str, Tensor]]]:
    """Return the teacher and the checkpoints of the present round, which checkpoints hold too."""
    state = objective.state_dict()
    students = []
    for number in range(objective.options.checkpoints):
        own = {name: tensor for name, tensor in state.items() if name.startswith(f"{number}.")}
        students.append({name.removeprefix(f"{number}."): tensor for name, tensor in own.items()})
    return int(state["teacher"]), students


def double(run: Run, state: dict[str, Tensor]) -> nn.Module:
    network = run.network(torch.Generator()).eval()
    network.load_state_dict(state)
    return network.double()


def equation_4(
    run: Run,
    images: Tensor,
    classes: Tensor,
    teacher: dict[str, Tensor],
    students: list[dict[str, Tensor]],
) -> tuple[Tensor, Tensor]:
    """Return L_u and its gradient in float64, by autograd through all of it."""
    images = images.detach().double().requires_grad_()
    logits = double(run, teacher)(images)
    loss = -0.1 * logits.log_softmax(1)[torch.arange(len(images)), classes]
    for student in students:
        apart = (logits - double(run, student)(images)).abs().sum(1) / 10
        loss = loss - torch.log(apart + 1e-8)
    return loss.mean().detach(), torch.autograd.grad(loss.mean(), images)[0]


def trained_by_hand(
    run: Run, teacher: nn.Module, images: Tensor, step: int, shard: int = 0
) -> list[dict[str, Tensor]]:
    """Return the checkpoints of a round's student, trained towards a teacher's logits."""
    student = run.network(run.generator("student of a round", shard, step))
    seed = derive(run.config.seed, "student training", shard, step)
    return train_student(run, student, images.detach(), teacher(images).detach(), seed)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    assert expected.abs().sum() > 0
    assert (found - expected).norm() < tolerance * expected.norm()


def gradients_of(
    objective: ApmObjective, images: Tensor, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a round's loss, the rows that it draws, and the gradient of these rows' images."""
    shard = objective.shards()[0]
    rows = objective.draw(shard, step).get("images", torch.arange(len(shard)))
    drawn = images[rows].clone().requires_grad_()
    loss = objective.loss(shard, {"images": drawn}, step)
    return loss.detach(), rows, torch.autograd.grad(loss, drawn)[0]


@pytest.mark.parametrize("network", ["convnet:depth=2:width=8", BATCH_NORM])
@pytest.mark.parametrize("settings", [(), ("segment=3",), ("batch_syn=4", "segment=3")])
def test_the_gradient_of_a_round_is_that_of_equation_4_by_hand(apm_run, network, settings):
    run = apm_run(*settings, "student_every=2", network=network)
    objective = objective_of(run)
    images = start_of(run)
    for step in (0, 2):
        loss, rows, gradient = gradients_of(objective, images, step)
        assert len(rows) == (4 if "batch_syn=4" in settings else 10)
        member, students = students_of(objective)
        teacher = objective.pool.state(member)
        expected = equation_4(run, images[rows], rows, teacher, students)
        assert float(loss) == pytest.approx(float(expected[0]), rel=1e-4)
        assert_close(gradient, expected[1])


def test_a_rounds_student_is_trained_on_its_mini_batch_towards_its_teachers_logits(apm_run):
    run = apm_run("batch_syn=4", "student_every=2", "student_batch=3")
    objective = objective_of(run)
    images = start_of(run)
    for step in (0, 2, 4):
        _, rows, _ = gradients_of(objective, images, step)
        member, found = students_of(objective)
        teacher = run.network(torch.Generator()).eval()
        teacher.load_state_dict(objective.pool.state(member))
        expected = trained_by_hand(run, teacher, images[rows], step)
        assert len(found) == len(expected) == 2
        for one, other in zip(found, expected, strict=True):
            for name, tensor in other.items():
                torch.testing.assert_close(one[name], tensor, rtol=1e-5, atol=1e-6)


def test_logits_for_students_in_augmentation_are_of_the_images_as_they_are(apm_run):
    run = apm_run("student_augmentation=dsa", "student_every=2")
    objective = objective_of(run)
    gradients_of(objective, start_of(run), 0)
    member, found = students_of(objective)
    teacher = objective.pool.network(member)
    expected = trained_by_hand(run, teacher, start_of(run), 0)
    torch.testing.assert_close(found[1]["classifier.bias"], expected[1]["classifier.bias"])


def test_one_round_is_one_step_of_plain_gradient_descent(apm_run, synthesised):
    run = apm_run("rounds=1", "lr_images=2", "student_every=2")
    objective = objective_of(run)
    gradients_of(objective, start_of(run), 0)
    member, students = students_of(objective)
    loss, gradient = equation_4(
        run, start_of(run), torch.arange(10), objective.pool.state(member), students
    )
    file = synthesised(run)
    assert file["losses"].tolist() == pytest.approx([float(loss)], rel=1e-4)
    expected = run.space.decode(start_of(run) - 2 * gradient.float())
    torch.testing.assert_close(file["images"], expected, rtol=1e-4, atol=1e-5)
    assert (file["images"] - file["initial"]).abs().max() > 1e-3


def moved_by_hand(run: Run, objective: ApmObjective) -> list[Tensor]:
    """Return the images, as network inputs, after each round: SGD, image by image."""
    options = run.options
    images, states = start_of(run), []
    velocity = torch.zeros_like(images)
    for step in range(options.rounds):
        _, rows, gradient = gradients_of(objective, images, step)
        rate = options.lr_images * (0.3 if step >= options.rounds / 2 else 1.0)
        for row, slope in zip(rows.tolist(), gradient, strict=True):
            velocity[row] = 0.5 * velocity[row] + slope
            images[row] -= rate * velocity[row]
        states.append(images.clone())
    return states


def snapshots_of(run: Run, folder: str = "run") -> list[Tensor]:
    paths = sorted(run.folder.with_name(folder).glob("snapshots/*/*.safetensors"))
    return [TensorFile(path)["images"] for path in paths]


@pytest.mark.parametrize(
    "settings",
    [
        ("rounds=4",),
        ("rounds=5",),
        ("rounds=6", "batch_syn=3"),
        ("rounds=6", "batch_syn=3", "student_every=3"),
    ],
)
def test_rounds_are_sgd_with_momentum_at_a_third_of_the_rate_from_the_middle_on(
    apm_run, synthesised, settings
):
    run = apm_run(*settings, "lr_images=20")
    synthesised(run, snapshot_every=1)
    found = snapshots_of(run)
    expected = moved_by_hand(run, objective_of(run))
    assert len(found) == len(expected)
    start = initial_real(run)
    for images, inputs in zip(found, expected, strict=True):
        assert (images - start).norm() > 1e-2
        assert_close(images - start, run.space.decode(inputs) - start, 1e-3)


def test_the_factor_of_the_later_rounds_is_an_option(apm_run, synthesised):
    images = {}
    for factor in ("0.3", "1", "0.5"):
        run = apm_run("rounds=2", f"late_factor={factor}", "batch_syn=0", "momentum=0")
        synthesised(run, factor, snapshot_every=1)
        images[factor] = snapshots_of(run, factor)
    steps = {factor: second - first for factor, (first, second) in images.items()}
    assert_close(steps["0.3"], 0.3 * steps["1"], 1e-3)
    assert_close(steps["0.5"], 0.5 * steps["1"], 1e-3)


def drawn_of(objective: ApmObjective) -> list[list[int]]:
    shard = objective.shards()[0]
    steps = range(objective.steps)
    return [objective.draw(shard, step)["images"].tolist() for step in steps]


def test_images_outside_the_mini_batch_do_not_change_by_a_bit(apm_run, synthesised):
    run = apm_run("rounds=6", "batch_syn=3")
    drawn = drawn_of(objective_of(run))
    file = synthesised(run, snapshot_every=1)
    states = [file["initial"], *snapshots_of(run)]
    for rows, before, after in zip(drawn, states, states[1:], strict=False):
        changed = (before != after).flatten(1).any(1).nonzero().flatten().tolist()
        assert changed == rows
    assert any(set(one) & set(other) for one, other in zip(drawn, drawn[2:], strict=False))


def test_with_dense_momentum_they_go_on_by_their_momentum(apm_run, synthesised):
    settings = ("rounds=6", "batch_syn=3", "late_factor=1", "lr_images=20")
    run = apm_run(*settings, "dense_momentum=true")
    drawn = drawn_of(objective_of(apm_run(*settings)))
    assert objective_of(run).draw(objective_of(run).shards()[0], 0) == {}
    file = synthesised(run, snapshot_every=1)
    states = [file["initial"], *snapshots_of(run)]
    seen: set[int] = set()
    rested = 0
    for step, rows in enumerate(drawn):
        steps = states[step + 1] - states[step]
        for row in set(range(10)) - set(rows):
            if row not in seen:
                assert not steps[row].any()
            elif step > 0:
                torch.testing.assert_close(
                    steps[row], 0.5 * (states[step] - states[step - 1])[row], rtol=1e-3, atol=1e-6
                )
                rested += bool(steps[row].any())
        seen |= set(rows)
    assert rested > 5


def test_dense_momentum_has_the_gradient_of_the_same_mini_batch(apm_run):
    settings = ("batch_syn=3", "segment=2")
    run = apm_run(*settings)
    _, rows, gradient = gradients_of(objective_of(run), start_of(run), 1)
    objective = objective_of(apm_run(*settings, "dense_momentum=true"))
    _, everything, dense = gradients_of(objective, start_of(run), 1)
    assert everything.tolist() == list(range(10))
    torch.testing.assert_close(dense[rows], gradient, rtol=1e-4, atol=1e-6)
    rest = [row for row in range(10) if row not in rows.tolist()]
    assert not dense[rest].any()


@pytest.mark.parametrize("size", [0, 10, 99])
def test_mini_batches_as_large_as_the_set_are_the_set(apm_run, size):
    objective = objective_of(apm_run(f"batch_syn={size}"))
    assert objective.draw(objective.shards()[0], 0) == {}


def test_mini_batches_are_drawn_anew_each_round_and_reach_every_image(apm_run):
    drawn = drawn_of(objective_of(apm_run("batch_syn=3", "rounds=30")))
    assert all(len(set(rows)) == 3 and rows == sorted(rows) for rows in drawn)
    assert len({tuple(rows) for rows in drawn}) > 20
    assert set().union(*drawn) == set(range(10))


def test_a_student_serves_as_many_rounds_as_asked_while_mini_batches_change(apm_run):
    run = apm_run("student_every=3", "batch_syn=4", "rounds=6")
    objective = objective_of(run)
    images, served, batches = start_of(run), [], []
    for step in range(6):
        loss, rows, gradient = gradients_of(objective, images, step)
        member, students = students_of(objective)
        served.append((member, float(students[1]["classifier.weight"].double().sum())))
        batches.append(tuple(rows.tolist()))
        expected = equation_4(run, images[rows], rows, objective.pool.state(member), students)
        assert float(loss) == pytest.approx(float(expected[0]), rel=1e-4)
        assert_close(gradient, expected[1])
    assert served[0] == served[1] == served[2]
    assert served[3] == served[4] == served[5]
    assert served[0] != served[3]
    assert len(set(batches)) == 6


def test_every_round_has_a_student_of_its_own(apm_run):
    """Without a change of the images, only teacher and student make the rounds' losses differ."""
    run = apm_run("teachers=1", *SHORT)
    objective = objective_of(run)
    losses = {float(gradients_of(objective, start_of(run), step)[0]) for step in range(4)}
    assert len(losses) == 4


def test_every_teacher_is_drawn(apm_run):
    run = apm_run("teachers=3", "train_epochs=1", "student_every=2", *SHORT)
    objective = objective_of(run)
    images, drawn = start_of(run), []
    for step in range(0, 40, 2):
        gradients_of(objective, images, step)
        drawn.append(students_of(objective)[0])
    assert set(drawn) == {0, 1, 2}
    assert all(drawn.count(teacher) >= 2 for teacher in range(3))


def test_same_seed_same_bytes(apm_run, synthesised):
    first, again, other = (
        synthesised(apm_run("batch_syn=4", seed=seed, pool_seed=0), folder).path.read_bytes()
        for seed, folder in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert first == again
    assert first != other


def test_another_seed_draws_other_rows_teachers_and_students(apm_run):
    settings = ("batch_syn=3", "rounds=10", "student_every=2", *SHORT)
    runs = [apm_run(*settings, seed=seed, pool_seed=0) for seed in (0, 1)]
    objectives = [objective_of(run) for run in runs]
    assert drawn_of(objectives[0]) != drawn_of(objectives[1])
    histories = []
    for objective in objectives:
        teachers, students = [], []
        for step in range(0, 20, 2):
            gradients_of(objective, start_of(runs[0]), step)
            teacher, (student,) = students_of(objective)
            teachers.append(teacher)
            students.append(float(student["features.0.conv.weight"].double().sum()))
        histories.append((teachers, students))
    assert histories[0][0] != histories[1][0]
    assert not set(histories[0][1]) & set(histories[1][1])


@pytest.mark.parametrize(
    ("settings", "resumed"),
    [
        (("batch_syn=3",), ([3, 4, 5], [3, 4, 5])),  # the stop is in the student's training
        (("batch_syn=3", "student_every=3"), ([3, 4, 5], [3, 4, 5])),
        (("batch_syn=3", "student_every=3", "dense_momentum=true"), ([3, 4, 5], [3, 4, 5])),
        (("student_every=2",), ([4, 5], [3, 4, 5])),  # the round of the stop needs no student
        (("student_every=4", "batch_syn=4"), ([4, 5], [3, 4, 5])),
    ],
)
@pytest.mark.parametrize("softly", [True, False])
def test_a_killed_synthesis_ends_in_the_same_bytes(
    apm_run, synthesised, monkeypatch, request_stop, settings, resumed, softly
):
    """Stopped, or else broken off, in the round with number 3."""
    run = apm_run(*settings, "rounds=6", "student_epochs=2")
    whole = synthesised(run, "whole", checkpoint_seconds=0)
    plain = ApmObjective.loss

    def interrupted(self, shard, leaves, step):
        if step == 3:
            if not softly:
                plain(self, shard, leaves, step)
                raise RuntimeError("killed")
            request_stop()
        return plain(self, shard, leaves, step)

    with monkeypatch.context() as patch:
        patch.setattr(ApmObjective, "loss", interrupted)
        with pytest.raises(Stopped if softly else RuntimeError):
            synthesised(run, "killed", checkpoint_seconds=0)
    interrupt._requested.clear()
    assert list(run.folder.with_name("killed").rglob("*.checkpoint.safetensors"))
    steps = []

    def watched(self, shard, leaves, step):
        steps.append(step)
        return plain(self, shard, leaves, step)

    monkeypatch.setattr(ApmObjective, "loss", watched)
    ended = synthesised(run, "killed", checkpoint_seconds=0)
    assert steps == resumed[0 if softly else 1]
    assert without_cost(ended) == without_cost(whole)


def without_cost(file: TensorFile) -> dict[str, bytes]:
    """Return all that a shard's file holds but its peak of memory, which is measured."""
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in file.read().items()}


def test_a_pool_without_teachers_is_refused(tmp_path, apm_run):
    with pytest.raises(DdkitError) as error:
        ApmObjective(apm_run(), Pool(tmp_path / "none"))
    assert str(error.value) == (
        "APM needs a pool of teachers, but this one has none (its members are none): name "
        "another one (--pool, --pool-from), or train them"
    )


def test_only_the_teachers_of_a_pool_are_drawn(apm_run):
    run = apm_run("student_every=2", *SHORT)
    pool = stage_pools.open_pool(run, "synthesis")
    pool.members = (replace(pool.members[0], role="expert"), pool.members[1])
    assert members(pool) == [1]
    objective = ApmObjective(run, pool)
    for step in range(0, 16, 2):
        gradients_of(objective, start_of(run), step)
        assert students_of(objective)[0] == 1


@pytest.mark.parametrize("space", ["zca", "standard"])
def test_pixels_are_not_clipped(apm_run, space):
    run = apm_run("lr_images=2000", "rounds=2", data={"space": space})
    distilled = load(pipeline.distill(run.config, run.folder))
    images = distilled.synthetic().images
    assert distilled.space.kind == space
    assert images.dtype == torch.float32  # such images are stored as they are
    assert images.max() > 1.1
    assert images.min() < -0.1
    made = TensorFile(run.folder / "shards" / "shard-00000.safetensors")["images"]
    assert torch.equal(images, made)


def test_whitened_images_start_as_the_real_ones(apm_run, synthesised):
    run = apm_run("rounds=0", data={"space": "zca"})
    file = synthesised(run)
    torch.testing.assert_close(file["images"], initial_real(run), rtol=0, atol=1e-4)


def test_images_may_start_as_noise(apm_run, synthesised):
    noise = synthesised(apm_run(init="noise"), "noise")
    assert torch.isfinite(noise["losses"]).all()
    assert noise["initial"].min() < -0.1  # in no real image
    assert (noise["images"] != noise["initial"]).flatten(1).any(1).all()


def test_no_rounds_leave_the_images_as_they_start(apm_run, synthesised):
    run = apm_run("rounds=0")
    file = synthesised(run)
    torch.testing.assert_close(file["images"], initial_real(run), rtol=0, atol=1e-5)
    assert len(file["losses"]) == 0


def test_the_synthesis_moves_images_to_where_students_and_teachers_disagree(apm_run, synthesised):
    run = apm_run("teachers=1", "rounds=25", "lr_images=20", "alpha=0", "student_epochs=8")
    losses = synthesised(run)["losses"]
    assert torch.isfinite(losses).all()
    assert losses[-5:].mean() < losses[:5].mean() - 0.1


@pytest.mark.parametrize("name", ["lr_images=1e30", "lr_student=1e20"])
def test_rates_far_too_large_end_in_one_line_that_says_what_to_do(apm_run, synthesised, name):
    run = apm_run(name, "rounds=3")
    with pytest.raises(DdkitError) as error:
        synthesised(run)
    assert "lower the learning rate" in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(run.folder.rglob("shard-00000.safetensors"))

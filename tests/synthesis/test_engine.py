"""The engine: plain gradient descent, in shards, that a kill at any moment does not change."""

import runpy
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.leaves import Leaf
from ddkit.synthesis.objective import ImageObjective, Objective
from ddkit.synthesis.shards import Shard, class_balanced_shards

STEPS = 6


class Quadratic(Objective):
    """Σ (images - target)², whose target walks with the step; `state` lives across the steps."""

    steps = STEPS
    advice = "lower --set lr"
    rows: int | None = None  # how many rows a step draws, None for all
    parts = 1
    momentum = 0.9

    def shards(self):
        return [
            Shard.of(self.run, n, s) for n, s in enumerate(torch.arange(6).split(6 // self.parts))
        ]

    def initialise(self, shard):
        self.state = torch.zeros(())
        value = torch.linspace(-1, 1, len(shard) * 4).view(len(shard), 1, 2, 2)
        return {"images": Leaf(value, partial(torch.optim.SGD, lr=0.1, momentum=self.momentum))}

    def draw(self, shard, step):
        if self.rows is None:
            return {}
        generator = self.run.generator("draw", shard.index, step)
        return {"images": torch.randperm(len(shard), generator=generator)[: self.rows]}

    def loss(self, shard, leaves, step):
        self.state = self.state + 1
        return ((leaves["images"] - self.target(step) - self.state) ** 2).sum()

    def target(self, step):
        return torch.rand(1, 2, 2, generator=self.run.generator("target", step))

    def decode(self, shard, leaves):
        return Synthetic(leaves["images"] + 0, shard.classes)

    def state_dict(self):
        return {"state": self.state}

    def load_state_dict(self, state):
        self.state = state["state"].clone()


class Lazy(Quadratic):
    rows = 2


class Cut(Quadratic):
    parts = 3


class CutLazy(Lazy):
    parts = 2


KINDS = [Quadratic, Lazy, Cut, CutLazy]


def result(run, folder: Path, objective=Quadratic, **options) -> dict[int, dict[str, torch.Tensor]]:
    """Synthesise in `folder`, or go on there, and return the tensors of each shard."""
    objective = objective(run(folder=folder))
    engine = Engine(objective.run, objective, **{"checkpoint_seconds": 0, **options})
    engine.synthesise()
    for shard in objective.shards():
        assert not engine.file(shard).checkpoint.exists()
    return {s.index: TensorFile(engine.file(s).path).read() for s in objective.shards()}


def same(one: dict, other: dict) -> bool:
    """Return whether two results are equal to the last bit."""
    return one.keys() == other.keys() and all(
        one[index].keys() == other[index].keys()
        and all(torch.equal(one[index][name], other[index][name]) for name in one[index])
        for index in one
    )


def test_the_engine_is_plain_gradient_descent(run, tmp_path):
    found = result(run, tmp_path / "a")[0]
    value = torch.linspace(-1, 1, 24).view(6, 1, 2, 2).double()
    momentum, losses = torch.zeros_like(value), []
    for step in range(STEPS):
        target = torch.rand(1, 2, 2, generator=run().generator("target", step)) + step + 1
        losses.append(((value - target) ** 2).sum())
        momentum = 0.9 * momentum + 2 * (value - target)
        value = value - 0.1 * momentum
    torch.testing.assert_close(found["images"].double(), value, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["losses"].double(), torch.stack(losses), rtol=1e-5, atol=0)
    assert found["classes"].tolist() == [0, 0, 1, 1, 2, 2]
    assert found["slots"].tolist() == list(range(6))
    assert torch.equal(found["initial"], torch.linspace(-1, 1, 24).view(6, 1, 2, 2))


def test_rows_that_no_step_draws_are_not_changed(run, tmp_path):
    class Partly(Quadratic):
        def draw(self, shard, step):
            return {"images": torch.tensor([1, 4])}

    found = result(run, tmp_path / "a", Partly)[0]
    changed = (found["images"] != found["initial"]).flatten(1).all(1)
    unchanged = (found["images"] == found["initial"]).flatten(1).all(1)
    assert changed.tolist() == [False, True, False, False, True, False]
    assert unchanged.tolist() == [True, False, True, True, False, True]


def test_zero_steps_are_legal(run, tmp_path):
    class Still(Quadratic):
        steps = 0

    found = result(run, tmp_path / "a", Still)[0]
    assert torch.equal(found["images"], found["initial"])
    assert len(found["losses"]) == 0


@pytest.mark.parametrize("steps", [0, 3])
def test_leaves_may_be_the_images_themselves(run, tmp_path, steps):
    class Bare(Quadratic):
        def decode(self, shard, leaves):
            return Synthetic(leaves["images"], shard.classes)

    Bare.steps = steps
    found = result(run, tmp_path / "a", Bare)[0]
    assert torch.equal(found["initial"], torch.linspace(-1, 1, 24).view(6, 1, 2, 2))
    assert torch.equal(found["initial"], found["images"]) is (steps == 0)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_died_at_any_step_ends_in_the_same_bytes(run, tmp_path, kind):
    whole = result(run, tmp_path / "whole", kind)
    for deadly in range(STEPS * kind.parts):

        class Dying(kind):
            taken = 0

            def loss(self, shard, leaves, step):
                if self.taken == deadly:  # noqa: B023 - used before the next turn of the loop
                    raise KilledError
                self.taken += 1
                return super().loss(shard, leaves, step)

        folder = tmp_path / str(deadly)
        with pytest.raises(KilledError):
            result(run, folder, Dying)
        assert same(result(run, folder, kind), whole), deadly


def test_a_run_that_dies_again_and_again_ends_in_the_same_bytes(run, tmp_path):
    class Frail(CutLazy):
        def loss(self, shard, leaves, step):
            if self.taken == 2:
                raise KilledError
            self.taken += 1
            return super().loss(shard, leaves, step)

    for _ in range(100):
        Frail.taken = 0
        try:
            found = result(run, tmp_path / "frail", Frail)
            break
        except KilledError:
            continue
    assert same(found, result(run, tmp_path / "whole", CutLazy))


def test_what_was_done_is_not_done_again(run, tmp_path):
    asked = []

    class Watched(Cut):
        def loss(self, shard, leaves, step):
            if (shard.index, step) == (1, 3) and (1, 3) not in asked:
                asked.append((1, 3))
                raise KilledError
            asked.append((shard.index, step))
            return super().loss(shard, leaves, step)

    with pytest.raises(KilledError):
        result(run, tmp_path / "a", Watched)
    before = len(asked)
    result(run, tmp_path / "a", Watched)
    assert asked[before:] == [(1, s) for s in range(3, 6)] + [(2, s) for s in range(6)]
    before = len(asked)
    result(run, tmp_path / "a", Watched)
    assert len(asked) == before


SCRIPT = '''
import os, signal, sys
from pathlib import Path
import torch
from ddkit.methods.options import MethodOptions
from ddkit.config import RunConfig
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.synthesis.objective import ImageObjective
from ddkit.run import Run
from ddkit.runtime.files import replacing
import ddkit.runtime.tensors
from ddkit.synthesis.engine import Engine

class Toy(ImageObjective):
    steps, deadly = 5, None
    def draw(self, shard, step):
        return {"images": torch.tensor([step % 2, 2])}
    def loss(self, shard, leaves, step):
        if step == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return (leaves["images"] ** 2).sum()

def synthesise(folder, deadly=None):
    torch.set_num_threads(1)
    images = torch.arange(4 * 16, dtype=torch.uint8).view(4, 1, 4, 4)
    train = Split(images, torch.tensor([0, 1, 2, 0]), ("a", "b", "c"))
    config = RunConfig(method="toy", plugin="toy", ipc=1)
    space = InputSpace.fit(train, "standard")
    run = Run(config, MethodOptions(), train, None, space, torch.device("cpu"), Path(folder))
    toy = Toy(run)
    toy.deadly = deadly
    Engine(run, toy, checkpoint_seconds=0).synthesise()

def dies_while_writing(folder):
    """Kill this process in the third checkpoint, when its file is half written."""
    calls = []
    def save_file(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        return save(tensors, path, metadata)
    save, ddkit.runtime.tensors.save_file = ddkit.runtime.tensors.save_file, save_file
    synthesise(folder)

if __name__ == "__main__":
    if sys.argv[2] == "writing":
        dies_while_writing(sys.argv[1])
    synthesise(sys.argv[1], int(sys.argv[2]))
'''


@pytest.mark.parametrize("deadly", ["3", "writing"])
def test_a_killed_process_is_taken_up_again_to_the_same_bytes(tmp_path, deadly):
    script = tmp_path / "toy.py"
    script.write_text(SCRIPT)
    synthesise = runpy.run_path(str(script))["synthesise"]
    killed = subprocess.run(
        [sys.executable, script, tmp_path / "killed", deadly], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "killed").rglob("*.checkpoint.safetensors"))
    synthesise(tmp_path / "killed")
    synthesise(tmp_path / "whole")
    name = "shards/shard-00000.safetensors"
    found, whole = (TensorFile(tmp_path / f / name).read() for f in ("killed", "whole"))
    assert same({0: found}, {0: whole})


@pytest.mark.parametrize("kind", [Quadratic, CutLazy])
@pytest.mark.parametrize("at", [0, 2, STEPS - 1])
def test_a_stop_is_obeyed_after_the_step_and_the_work_is_kept(
    run, tmp_path, kind, at, request_stop, monkeypatch
):
    import ddkit.runtime.interrupt

    steps = []

    class Stopping(kind):
        def loss(self, shard, leaves, step):
            steps.append(step)
            if step == at:
                request_stop()
            return super().loss(shard, leaves, step)

    folder = tmp_path / "stopped"
    with pytest.raises(Stopped):
        result(run, folder, Stopping, checkpoint_seconds=1000)
    assert steps == list(range(at + 1))
    ddkit.runtime.interrupt._requested.clear()
    assert same(result(run, folder, kind), result(run, tmp_path / "whole", kind))


class Diverging(Quadratic):
    def loss(self, shard, leaves, step):
        value = super().loss(shard, leaves, step)
        return value * float("nan") if step >= 3 else value


def test_a_loss_that_is_not_finite_stops_in_one_line_and_keeps_the_last_good_state(run, tmp_path):
    with pytest.raises(DdkitError) as caught:
        result(run, tmp_path / "a", Diverging)
    assert str(caught.value) == (
        "the loss of shard 0 is not finite from step 3 on (the state of step 3 is kept): "
        "lower --set lr, in a new folder (--out) or with --overwrite"
    )
    file = TensorFile(next((tmp_path / "a").rglob("*.checkpoint.safetensors")))
    assert file.metadata["step"] == 3
    assert file["leaf.images.value"].isfinite().all()
    assert same(result(run, tmp_path / "a"), result(run, tmp_path / "b"))


def test_a_loss_that_is_not_finite_is_found_between_checkpoints_too(run, tmp_path):
    with pytest.raises(DdkitError, match=r"not finite from step 3 on \(the state of step [123] is"):
        result(run, tmp_path / "a", Diverging, checkpoint_seconds=1000)


def test_a_leaf_beyond_its_limit_stops_the_run_and_keeps_the_last_good_state(run, tmp_path):
    class RunningAway(Quadratic):
        def initialise(self, shard):
            return {"images": replace(super().initialise(shard)["images"], limit=3)}

        def target(self, step):
            return torch.full((1, 2, 2), 10.0 * step)

    with pytest.raises(DdkitError) as caught:
        result(run, tmp_path / "a", RunningAway)
    assert str(caught.value) == (
        "'images' of shard 0 has run away to 3.2 by step 2 (the state of step 1 is kept): "
        "lower --set lr, in a new folder (--out) or with --overwrite"
    )
    file = TensorFile(next((tmp_path / "a").rglob("*.checkpoint.safetensors")))
    assert file["leaf.images.value"].abs().max() <= 3


@pytest.mark.parametrize("at", [2, STEPS - 1])
def test_a_gradient_that_is_not_finite_never_reaches_a_file(run, tmp_path, at):
    class Spoilt(Quadratic):
        def loss(self, shard, leaves, step):
            root = (leaves["images"] * 0).abs().sqrt().sum()  # 0, with a gradient of NaN
            return super().loss(shard, leaves, step) + (root if step == at else 0)

    with pytest.raises(DdkitError, match="not finite"):
        result(run, tmp_path / "a", Spoilt)
    for path in (tmp_path / "a").rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in TensorFile(path).read().values())


@pytest.mark.parametrize(
    "slots", [[[0, 1, 2]], [[0, 1, 2, 3], [3, 4, 5]], [[0, 1, 2, 3, 4, 5, 6]], []]
)
def test_shards_that_do_not_hold_each_image_once_are_refused(run, tmp_path, slots):
    class Wrong(Quadratic):
        def shards(self):
            return [Shard.of(self.run, n, torch.tensor(s)) for n, s in enumerate(slots)]

    with pytest.raises(DdkitError) as caught:
        result(run, tmp_path / "a", Wrong)
    assert str(caught.value) == (
        "the shards of the method 'random' do not hold each of the 6 images once: "
        "its Objective.shards() is at fault"
    )


def test_two_shards_of_one_number_are_refused(run, tmp_path):
    class Twice(Quadratic):
        def shards(self):
            return [
                Shard.of(self.run, 0, torch.arange(3)),
                Shard.of(self.run, 0, torch.arange(3, 6)),
            ]

    with pytest.raises(DdkitError, match=r"Objective.shards\(\) is at fault"):
        result(run, tmp_path / "a", Twice)


def test_snapshots_show_the_images_after_every_so_many_steps(run, tmp_path):
    result(run, tmp_path / "a", Cut, snapshot_every=2)
    shots = sorted(path.name for path in (tmp_path / "a" / "snapshots").iterdir())
    assert shots == ["step-000002", "step-000004", "step-000006"]

    class Short(Cut):
        steps = 4

    short = result(run, tmp_path / "b", Short)
    for index in range(3):
        path = tmp_path / "a" / "snapshots" / "step-000004" / f"shard-{index:05d}.safetensors"
        shot = TensorFile(path).read()
        assert torch.equal(shot["images"], short[index]["images"])
        assert torch.equal(shot["slots"], short[index]["slots"])


@pytest.mark.parametrize("at", [3, STEPS])
def test_the_peak_memory_survives_a_kill(run, tmp_path, at):
    class Hungry(Quadratic):
        def loss(self, shard, leaves, step):
            if step == at:
                raise KilledError
            needed = torch.zeros(1000 if step else 100_000)
            return super().loss(shard, leaves, step) + needed.sum()

        def decode(self, shard, leaves):
            if at == STEPS and self.state == STEPS:
                raise KilledError
            return super().decode(shard, leaves)

    folder = tmp_path / "a"
    with pytest.raises(KilledError):
        result(run, folder, Hungry)
    result(run, folder)
    assert TensorFile(folder / "shards/shard-00000.safetensors").metadata["peak_bytes"] >= 400_000


class Shrinking(ImageObjective):
    """The common case: pixels in network space."""

    steps = 4
    lr = 0.5

    def loss(self, shard, leaves, step):
        return (leaves["images"] * 1000).sum()


def test_images_are_kept_in_the_valid_range(run, tmp_path):
    def final(objective, **config):
        objective = objective(run(folder=tmp_path / objective.__name__, **config))
        engine = Engine(objective.run, objective)
        engine.synthesise()
        return TensorFile(engine.file(objective.shards()[0]).path)["images"]

    class Free(Shrinking):
        clip = False

    assert final(Shrinking).min() == pytest.approx(0, abs=1e-6)
    assert final(Free).min() < -0.1


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 6, 100])
def test_class_balanced_shards_hold_each_slot_once(run, batch):
    shards = class_balanced_shards(run(ipc=5), batch)
    slots = torch.cat([shard.slots for shard in shards])
    assert sorted(slots.tolist()) == list(range(15))
    assert [shard.index for shard in shards] == list(range(len(shards)))
    for shard in shards:
        assert torch.equal(shard.classes, shard.slots // 5)
        counts = torch.bincount(shard.classes, minlength=3)
        assert counts.max() - counts[counts > 0].min() == 0
        if batch >= 3:
            assert (counts > 0).all()
        assert len(shard) <= batch


def test_class_balanced_shards_need_a_batch_size(run):
    with pytest.raises(DdkitError, match="option 'batch_size' must be 1 or more"):
        class_balanced_shards(run(), 0)


def test_a_shard_knows_the_classes_of_its_slots(run):
    assert isinstance(shard := Shard.of(run(ipc=2), 3, torch.tensor([5, 0, 3])), Shard)
    assert (shard.classes.tolist(), len(shard)) == ([2, 0, 1], 3)

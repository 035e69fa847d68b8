"""How loops compute: what is chosen, that it is kept, and what each choice does on a CPU."""

import copy
from dataclasses import replace
from itertools import islice
from typing import NoReturn

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddkit import networks
from ddkit.config import RunConfig
from ddkit.run import Run
from ddkit.runtime.arithmetic import (
    EXACT,
    PRECISIONS,
    Arithmetic,
    ArithmeticRequest,
    Loop,
    fastest,
    usual,
)
from ddkit.runtime.files import read_json
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.tensors import restore_optimiser
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.objective import ImageObjective
from ddkit.training import loop as training
from ddkit.training.loop import fit, training_trial
from ddkit.training.recipe import Recipe
from ddkit.training.stacked import fit_together

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BF16, LAST = Arithmetic("bf16"), Arithmetic(channels_last=True)
STEPS = 3
RECIPE = Recipe(epochs=1, lr=0.05, schedule="constant")


def network(seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    spec = "convnet:depth=1:width=8"
    return networks.create(spec, classes=4, shape=(3, 8, 8), generator=generator)


def batches(epoch: int):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(STEPS):
        images = torch.randn(6, 3, 8, 8, generator=generator)
        yield images, torch.randint(4, (6,), generator=generator)


def fitted(arithmetic: Arithmetic | None, **options) -> nn.Module:
    model = network()
    arguments = {"steps_per_epoch": STEPS, "seed": 0, "arithmetic": arithmetic, **options}
    for _ in fit(model, batches, **{"recipe": RECIPE, **arguments}):
        pass
    return model


def close(one: nn.Module, other: nn.Module, tolerance: float) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(a, b, atol=tolerance, rtol=0) for a, b in pairs)


def never(arithmetic: Arithmetic) -> NoReturn:
    pytest.fail(f"{arithmetic} was measured")


@pytest.fixture
def taking(monkeypatch):
    """Return a function that makes a trial: its steps take what seconds(arithmetic) says."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)

    def make(seconds):
        def training_trial(arithmetic: Arithmetic):
            while True:
                clock[0] += seconds(arithmetic)
                yield

        return training_trial

    return make


@pytest.mark.parametrize(
    "asked",
    [ArithmeticRequest(), ArithmeticRequest("fp32", "off"), ArithmeticRequest(compiled="auto")],
)
def test_a_cpu_has_no_choice_and_measures_nothing(asked):
    loop = Loop(CPU, PRECISIONS, layouts=True, steps=10**9)
    assert not asked.measures(loop)
    assert asked.choose(loop, never) == usual(CPU) == EXACT


def test_cuda_measures_what_the_loop_bears():
    every = [Arithmetic(name, last) for name in ("tf32", "bf16") for last in (False, True)]
    assert ArithmeticRequest().candidates(Loop(CUDA, PRECISIONS, layouts=True)) == every
    assert ArithmeticRequest().candidates(Loop(CUDA, ("fp32", "tf32"), layouts=True)) == every[:2]
    assert ArithmeticRequest().candidates(Loop(CUDA, ("fp32",), layouts=True)) == [EXACT, LAST]
    assert (
        ArithmeticRequest().candidates(Loop(CUDA, PRECISIONS)) == every[::2]
    )  # it ignores the layout


@pytest.mark.parametrize("name", PRECISIONS)
def test_no_clock_decides_where_a_precision_is_named_and_nothing_is_compiled(name):
    loop = Loop(CUDA, PRECISIONS, layouts=True, steps=10**9)
    assert ArithmeticRequest(name, "off").choose(loop, never) == Arithmetic(name)
    assert not ArithmeticRequest(name, "off").measures(loop)
    assert ArithmeticRequest(name, "auto").measures(loop)
    assert ArithmeticRequest("auto", "off").measures(loop)


def test_what_is_asked_for_is_taken_as_far_as_the_loop_bears_it():
    assert ArithmeticRequest("bf16").candidates(Loop(CPU, PRECISIONS)) == [BF16]
    laid_out = ArithmeticRequest("bf16").candidates(Loop(CPU, PRECISIONS, layouts=True))
    assert laid_out == [Arithmetic("bf16", channels_last=True)]
    assert ArithmeticRequest("fp32").candidates(Loop(CPU, PRECISIONS, layouts=True)) == [EXACT]
    assert ArithmeticRequest("bf16").candidates(Loop(CPU, ("fp32", "tf32"))) == [Arithmetic("tf32")]
    training = Loop(CPU, PRECISIONS, steps=1)
    assert ArithmeticRequest("fp32", "on").choose(training, never) == Arithmetic(compiled=True)
    assert ArithmeticRequest("fp32", "on").choose(Loop(CPU, PRECISIONS), never) == EXACT


def test_only_what_is_clearly_faster_is_chosen():
    assert fastest([EXACT, BF16], [1.0, 0.95]) == (EXACT, 1.0)
    assert fastest([EXACT, BF16], [1.0, 0.85]) == (BF16, 0.85)


@pytest.mark.parametrize("fails", ["tf32", "bf16"])
def test_what_fails_is_not_chosen(taking, fails):
    def seconds(arithmetic):
        if arithmetic.precision == fails:
            raise torch.OutOfMemoryError("no room")
        return 1.0

    (works,) = {"tf32", "bf16"} - {fails}
    assert ArithmeticRequest().choose(Loop(CUDA, PRECISIONS), taking(seconds)).precision == works


@pytest.mark.parametrize(("steps", "tried"), [(100, False), (1000, True)])
def test_long_loops_are_tried_compiled(taking, steps, tried):
    seen = []

    def seconds(arithmetic):
        seen.append(arithmetic)
        return 0.1 if arithmetic.compiled else 0.5

    loop = Loop(CUDA, ("fp32", "tf32"), layouts=True, steps=steps)
    chosen = ArithmeticRequest().choose(loop, taking(seconds))
    assert chosen == Arithmetic("tf32", compiled=tried)
    assert any(arithmetic.compiled for arithmetic in seen) is tried


def test_training_in_bf16_is_a_plain_autocast_loop_bit_for_bit():
    plain = network()
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for images, labels in batches(0):
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = plain(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimiser.step()
    found = fitted(BF16)
    assert close(found, plain, 0)
    assert not close(found, fitted(None), 0)
    assert all(parameter.dtype == torch.float32 for parameter in found.parameters())


def test_losses_are_taken_of_float32_logits():
    dtypes = []

    def loss(logits, targets):
        dtypes.append(logits.dtype)
        return F.cross_entropy(logits, targets)

    fitted(BF16, loss=loss)
    assert dtypes == [torch.float32] * STEPS


def test_channels_last_lays_out_weights_and_changes_rounding_only():
    found = fitted(LAST)
    weight = next(p for p in found.parameters() if p.dim() == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert close(found, fitted(None), 1e-5)


def test_a_checkpoint_brings_momenta_back_in_the_layout_of_the_weights(tmp_path, monkeypatch):
    path, whole = tmp_path / "checkpoint", fitted(LAST)
    with monkeypatch.context() as patch:
        patch.setattr(training, "stop_requested", lambda: True)
        with pytest.raises(Stopped):
            fitted(LAST, checkpoint=path)
    layouts = []
    monkeypatch.setattr(training, "restore_optimiser", recording(layouts))
    assert close(fitted(LAST, checkpoint=path), whole, 0)
    assert all(layouts)


def recording(layouts):
    def restore(optimiser, tensors):
        restore_optimiser(optimiser, tensors)
        for parameter, state in optimiser.state.items():
            layouts.append(state["momentum_buffer"].stride() == parameter.stride())

    return restore


def stacked(epoch: int):
    for images, labels in batches(epoch):
        yield torch.stack([images] * 2), torch.stack([labels] * 2)


@pytest.mark.parametrize(
    ("arithmetic", "tolerance"), [(BF16, 0.01), (LAST, 1e-5)], ids=["bf16", "channels-last"]
)
def test_networks_train_together_as_alone(arithmetic, tolerance):
    models = [network(0), network(1)]
    alone = copy.deepcopy(models[0])
    arguments = {"steps_per_epoch": STEPS, "seed": 0, "arithmetic": arithmetic}
    for _ in fit_together(models, stacked, RECIPE, **arguments):
        pass
    for _ in fit(alone, batches, RECIPE, **arguments):
        pass
    assert close(models[0], alone, tolerance)
    assert not close(models[0], network(0), 0.01)


def test_what_is_to_be_compiled_is_chosen_first(taking):
    seen = set()

    def seconds(arithmetic):
        seen.add(arithmetic)
        return 0.1 if arithmetic == BF16 else 0.5

    loop = Loop(CUDA, PRECISIONS, layouts=True, steps=10)
    assert ArithmeticRequest(compiled="on").choose(loop, taking(seconds)) == replace(
        BF16, compiled=True
    )
    assert seen == set(ArithmeticRequest().candidates(loop))


@pytest.fixture
def graphs(monkeypatch) -> list[object]:
    """Let the compiler be one that only notes what it is given."""
    noted: list[object] = []
    compiler = torch.compile

    def backend(graph, inputs):
        noted.append(graph)
        return graph.forward

    def compiling(network, mode, **options):
        return compiler(network, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", compiling)
    yield noted
    torch.compiler.reset()


@pytest.mark.parametrize("last", [2, 7])
def test_a_last_batch_of_another_size_is_not_compiled(graphs, last):
    def uneven(epoch):
        for images, labels in batches(epoch):
            yield images, labels
        yield images.repeat(2, 1, 1, 1)[:last], labels.repeat(2)[:last]

    recipe = RECIPE.model_copy(update={"epochs": 3, "batch_size": 6})
    models = network(), network()
    for model, arithmetic in zip(models, (EXACT, Arithmetic(compiled=True)), strict=True):
        for _ in fit(
            model, uneven, recipe, steps_per_epoch=STEPS + 1, seed=0, arithmetic=arithmetic
        ):
            pass
    assert len(graphs) == 1
    assert close(*models, 0)


@pytest.mark.slow  # the compiler takes half a minute
def test_a_compiled_training_is_the_same_up_to_rounding():
    compiled = fitted(Arithmetic(compiled=True), recipe=RECIPE.model_copy(update={"batch_size": 6}))
    assert close(compiled, fitted(None), 1e-5)


def test_a_trial_trains_on_one_batch_without_an_end():
    model, batch = network(), next(batches(0))
    for _ in islice(training_trial(model, batch, RECIPE, EXACT), 300):
        pass
    assert F.cross_entropy(model(batch[0]), batch[1]) < 0.1


def test_rounding_is_set_for_a_step_and_put_back():
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    for arithmetic, inside in ((EXACT, "ieee"), (Arithmetic("tf32"), "tf32"), (BF16, "tf32")):
        with arithmetic.rounding(CUDA):
            assert products.fp32_precision == inside
        assert products.fp32_precision == before
    with EXACT.rounding(CPU):
        assert products.fp32_precision == before


def test_a_run_measures_a_loop_once_and_keeps_the_answer(taking, tmp_path):
    config = RunConfig(method="random", plugin="random", ipc=1)
    run = Run(config, None, None, None, None, CUDA, tmp_path / "run")
    speeds = {"tf32": 1.0, "bf16": 0.4}
    found = run.arithmetic("a loop", PRECISIONS, taking(lambda each: speeds[each.precision]))
    assert found == BF16
    kept = run.arithmetic("a loop", PRECISIONS, never)
    assert kept == found
    assert read_json(tmp_path / "run" / "settled.json")["arithmetic of a loop"] == {
        "precision": "bf16",
        "channels_last": False,
        "compiled": False,
    }
    other = run.arithmetic(
        "a loop", ("fp32",), taking(lambda each: 1.0), layouts=True, folder=tmp_path / "pool"
    )
    assert other == EXACT
    assert list(read_json(tmp_path / "pool" / "settled.json")) == ["arithmetic of a loop"]


class Plain(ImageObjective):
    """Cannot be measured: it has no shards."""

    def shards(self):
        raise LookupError("it was measured")

    def loss(self, shard, leaves, step):
        raise AssertionError("no step is taken")


class LaidOut(Plain):
    def compute_with(self, arithmetic):
        pass


def test_only_a_method_that_lays_out_in_memory_is_measured_in_both_layouts(run, tmp_path):
    on_cuda = replace(run(), device=CUDA)
    chosen = Engine(on_cuda, Plain(on_cuda))._prepared()
    assert chosen == Arithmetic("tf32")
    assert not on_cuda.folder.exists()  # nothing had to be kept
    with pytest.raises(LookupError, match="measured"):
        Engine(on_cuda, LaidOut(on_cuda))._prepared()


def test_a_configuration_names_what_it_asks_for():
    config = RunConfig(method="random", plugin="random", ipc=1)
    assert (config.precision, config.compile) == ("auto", "auto")

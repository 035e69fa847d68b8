"""float32 is float32 everywhere, compiled steps are those that are not, choices are kept."""

import time
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.device.arithmetics import arithmetics
from benchmarks.device.check.checking import checked, demand
from benchmarks.device.check.runs import config_of, distilled
from benchmarks.device.figures.training import RECIPE, batch, batched_step, network
from benchmarks.device.parts import Bench
from benchmarks.device.timing import in_turn
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import default_protocol, evaluate_with, open_test
from ddkit.pipeline.prepare import prepare
from ddkit.runtime.arithmetic import EXACT, Arithmetic, usual
from ddkit.runtime.files import read_json
from ddkit.runtime.timing import wait_for
from ddkit.training.loop import fit

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
CONVOLUTIONS = {"convolution", "convolution_backward", "cudnn_convolution"}
STEPS = 3


class Rounded(TorchDispatchMode):
    """Counts the convolutions and products of a block by how they round."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        here = any(isinstance(each, Tensor) and each.is_cuda for each in args)
        if here and name in CONVOLUTIONS:
            self.found[f"convolutions {torch.backends.cudnn.conv.fp32_precision}"] += 1  # type: ignore[attr-defined]
        elif here and name in PRODUCTS:
            self.found[f"products {torch.backends.cuda.matmul.fp32_precision}"] += 1
        return func(*args, **(kwargs or {}))


def float32_is_kept(name: str, bench: Bench) -> str:
    """Check every convolution and product of a run with `--precision fp32`, pool to accuracy."""
    config, folder = config_of(bench, name), bench.scratch()
    with Rounded() as seen:
        dataset = load(distilled(config, folder))
        run = prepare(config, folder / "run")
        protocol = default_protocol(dataset).with_recipe(epochs=2)
        evaluate_with(protocol, dataset, open_test(run), config.network, [0, 1], run.device)
    said = ", ".join(f"{count} {kind}" for kind, count in seen.found.most_common())
    demand(all(kind.endswith("ieee") for kind in seen.found), said)
    demand("convolutions ieee" in seen.found, f"no convolution was seen: {said}")
    return said


def compiled_agrees(bench: Bench) -> str:
    """Check an expert's compiled steps against those that are not, and how long compiling takes."""
    inputs, labels = batch(bench, 256)
    eager = Arithmetic("fp32")
    weights, seconds, steps = {}, {}, {}
    for arithmetic in (eager, replace(eager, compiled=True)):
        trained = network(bench)
        training = fit(
            trained,
            lambda epoch: repeat((inputs, labels)),
            RECIPE,
            steps_per_epoch=10**9,
            seed=0,
            arithmetic=arithmetic,
        )
        began = time.perf_counter()
        for _ in range(STEPS):
            next(training)
        wait_for(bench.device)
        name = str(arithmetic)
        seconds[name] = time.perf_counter() - began
        weights[name] = torch.cat([value.detach().flatten() for value in trained.parameters()])
        steps[name] = partial(next, training)
    before = torch.cat([value.detach().flatten() for value in network(bench).parameters()])
    one, other = (each - before for each in weights.values())
    away = float((one - other).norm() / one.norm())
    demand(away < 1e-3, f"what {STEPS} steps change differs by {away:.2g} of its norm")
    walls = [timing.wall for timing in in_turn(steps, bench, 1.0).values()]
    first = list(seconds.values())[1]
    return (
        f"differs by {away:.1g} of its norm; compiled in {first:.0f} s; a step takes "
        f"{1e3 * walls[1]:.2f} ms instead of {1e3 * walls[0]:.2f}"
    )


def stacks_compute(bench: Bench) -> str:
    """Check that networks train at once in every arithmetic that a pool may choose."""
    found = []
    for arithmetic in arithmetics(bench.device, layouts=False):
        step = batched_step(bench, *batch(bench, 8), 4, arithmetic)
        for _ in range(STEPS):
            step()
        wait_for(bench.device)
        found.append(str(arithmetic))
    return ", ".join(found)


def arithmetics_agree(bench: Bench) -> str:
    """Check a network's gradient in every arithmetic against float32 on the CPU."""
    inputs, labels = batch(bench, 64)
    expected = gradient(network(bench).cpu(), inputs.cpu(), labels.cpu(), EXACT)
    found = {}
    for arithmetic in dict.fromkeys([EXACT, *arithmetics(bench.device)]):
        slope = gradient(network(bench), inputs, labels, arithmetic).cpu()
        found[str(arithmetic)] = float((slope - expected).norm() / expected.norm())
    said = ", ".join(f"{name} {away:.1g}" for name, away in found.items())
    allowed = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 1e-1}
    demand(all(away < allowed[name.split()[0]] for name, away in found.items()), said)
    return said


def gradient(model: nn.Module, inputs: Tensor, labels: Tensor, arithmetic: Arithmetic) -> Tensor:
    forward = arithmetic.form(model, inputs.device, len(inputs))
    with arithmetic.rounding(inputs.device):
        F.cross_entropy(forward(inputs), labels).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def choice_is_kept(bench: Bench) -> str:
    """Check that what a run measured is one of what it may choose, and is written down."""
    config, folder = config_of(bench, "Teddy", precision="auto", compile="auto"), bench.scratch()
    distilled(config, folder)
    kept = read_json(folder / "run" / "settled.json")["arithmetic of the synthesis"]
    chosen = Arithmetic(**kept)
    demand(chosen.precision in ("tf32", "bf16"), f"{chosen}, where {usual(bench.device)} is faster")
    return str(chosen)


ITEMS = [
    *(
        checked(
            f"float32 everywhere: {name}",
            partial(float32_is_kept, name),
            4,
            "a small run",
            cuda=True,
        )
        for name in ("Teddy", "TESLA", "APM", "DSA", "herding")
    ),
    checked("gradients in every arithmetic", arithmetics_agree, 2, "six gradients", cuda=True),
    checked("networks at once in every arithmetic", stacks_compute, 3, "nine steps"),
    checked("a choice is kept: Teddy", choice_is_kept, 5, "a run that measures", cuda=True),
    checked(
        "compiled steps are those that are not",
        compiled_agrees,
        40,
        "a compilation of forward and backward",
        cuda=True,
    ),
]

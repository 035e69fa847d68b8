"""The device and the CPU agree; what a run draws is drawn on the right device."""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.device.check.checking import checked, demand
from benchmarks.device.check.runs import CONVNET, config_of, distilled
from benchmarks.device.made_up import pool_of, run_of
from benchmarks.device.parts import Bench
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import evaluate_with, open_test, protocol_for
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.stages import Stages, open_pool
from ddkit.synthesis.initial import initial_real
from ddkit.training.loop import seeded

CPU = torch.device("cpu")
STEPPED = {
    "teddy": ("teacher", ["teachers=1", "batch_size=20"], ":norm=batch"),
    "tesla": ("expert", ["student_steps=3", "max_start_epoch=1", "lr_images=100"], ""),
    "apm": ("teacher", ["student_epochs=5"], ""),
    "dm": ("", [], ""),
    "dsa": ("", ["outer_loop=2", "inner_epochs=1"], ""),
}
ROUNDING = 1e-3  # of what a step changes; TF32 is at 1e-2


def first_steps_agree(method: str, bench: Bench) -> str:
    """Check a method's first step in float32 against the same step on the CPU."""
    here, cpu = (change_of(method, device, bench) for device in (bench.device, CPU))
    away = float((here - cpu).norm() / cpu.norm())
    demand(away < ROUNDING, f"what the first step changes differs by {away:.2g} of its norm")
    return f"differs by {away:.1g} of its norm"


def change_of(method: str, device: torch.device, bench: Bench) -> Tensor:
    """Return what the first step changes of the pixels, over a pool of untrained networks."""
    role, settings, norm = STEPPED[method]
    run = run_of(
        method,
        CONVNET + norm,
        (3, 16, 16),
        bench.scratch(),
        device,
        ipc=2,
        images=200,
        settings=settings,
        precision="fp32",
    )
    pool = pool_of(run, role, epochs=range(3)) if role else open_pool(run, "synthesis")
    engine = pipeline.engine_of(Stages(run), pool)
    images, _ = engine.first_step()
    return images.images - initial_real(run)


def runs_agree(bench: Bench) -> str:
    """Check a small run of Teddy, from pool to labels, against the same one on the CPU."""
    folder = bench.scratch()
    sets = [
        load(distilled(config_of(bench, "Teddy", device=str(device)), folder / device.type))
        for device in (CPU, bench.device)
    ]
    rows = torch.arange(len(sets[0]))
    pixels, logits = (
        float((one - other).abs().float().mean())
        for one, other in (
            [each.pixels(rows) for each in sets],
            [each.labels.tensors()["labels.logits"] for each in sets],
        )
    )
    demand(pixels < 0.02 and logits < 0.5, f"pixels differ by {pixels:.2g}, logits {logits:.2g}")
    return f"pixels differ by {pixels:.1g}, logits by {logits:.1g} on average"


def evaluations_repeat(bench: Bench) -> str:
    """Check that evaluations repeat, and that seeds trained at once are like those that are not."""
    config = config_of(bench, "Teddy")
    folder = bench.scratch()
    dataset = load(distilled(config, folder))
    run = prepare(config, folder / "run")
    test = open_test(run)
    found = []
    for name in ("dsa", "soft"):
        protocol = protocol_for(name).with_recipe(epochs=20)
        alone, again, at_once = (
            evaluate_with(
                protocol, dataset, test, config.network, range(4), run.device, together=together
            )
            for together in (False, False, True)
        )
        demand(alone.accuracies == again.accuracies, f"{name}: another time {again.accuracies}")
        demand(at_once.together == 4, f"{name}: seeds do not train at once")
        away = abs(alone.mean - at_once.mean)
        demand(away < 0.1, f"{name}: {alone.mean:.2f} alone and {at_once.mean:.2f} at once")
        found.append(f"{name} {100 * alone.mean:.0f} %, at once {100 * at_once.mean:.0f} %")
    return "; ".join(found)


def seeds_are_the_devices(bench: Bench) -> str:
    """Check that a seed holds for the device that is asked for, and leaves its generator alone."""
    devices = [torch.device("cuda", n) for n in range(torch.cuda.device_count())] or [bench.device]
    for device in devices:
        layer, inputs = nn.Dropout(), torch.ones(1000, device=device)
        before = state_of(device)
        drawn = []
        for _ in range(2):
            with seeded(7, device):
                drawn.append(layer(inputs))
        demand(torch.equal(*drawn), f"the same seed draws otherwise on {device}")
        demand(torch.equal(before, state_of(device)), f"the generator of {device} was moved")
    return f"on {', '.join(map(str, devices))}"


def state_of(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


ITEMS = [
    *(
        checked(
            f"the first step as on the CPU: {method}",
            partial(first_steps_agree, method),
            2,
            "a step here and one on the CPU",
            cuda=True,
        )
        for method in STEPPED
    ),
    checked("a run as on the CPU: Teddy", runs_agree, 4, "two small runs", cuda=True),
    checked("evaluations repeat, alone and at once", evaluations_repeat, 6, "480 epochs"),
    checked("seeds hold for the device", seeds_are_the_devices, 1, "two draws", cuda=True),
]

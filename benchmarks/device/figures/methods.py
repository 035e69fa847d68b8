"""A step of each method over made-up pools, beside its arithmetic written out in bare torch."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from ddkit_apm.distances import l1
from ddkit_apm.matching import EPSILON
from ddkit_apm.objective import ApmObjective
from ddkit_matching.objective import MatchingObjective
from ddkit_teddy.objective import TeddyObjective
from ddkit_tesla.objective import TeslaObjective
from torch import nn

from benchmarks.device.figures.comparing import TIMED, Sides, compared, line_of
from benchmarks.device.figures.training import images, network, spec, title
from benchmarks.device.made_up import pool_of, run_of
from benchmarks.device.parts import Bench, Item, Line
from benchmarks.device.timing import Step, in_turn, numbered
from benchmarks.teddy_step import ddkit_steps, plain_steps
from benchmarks.tesla_step import floor
from ddkit.data.augmentation.dsa import apply_dsa, draw_dsa
from ddkit.networks.features import last_linear_input
from ddkit.pipeline.stages import Stage
from ddkit.run import Run
from ddkit.runtime.arithmetic import Arithmetic, usual
from ddkit.synthesis.initial import initial_real
from ddkit.synthesis.objective import Objective

SHAPE, CLASSES = (3, 32, 32), 10
CHECKPOINTS, ALPHA = 5, 0.1


def tesla_lines(bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve an iteration with the exact gradient, at IPC 1 with 50 student steps."""
    steps = 3 if bench.small else 50
    settings = [
        f"student_steps={steps}",
        "max_start_epoch=1",
        "expert_epochs=2",
        "labels=hard",
        "iterations=1000000",
        "lr_images=1e-6",
        "lr_lr=0",
    ]
    run = made_up_run(bench, "tesla", spec(bench), 1, settings)
    objective = TeslaObjective(run, pool_of(run, "expert", epochs=range(3)))
    sides = Sides(
        partial(own_step, objective),
        lambda arithmetic: numbered(floor(objective, objective.shards()[0], exact=True)),
    )
    name = title(bench, f"TESLA iteration, T = {steps}", 10)
    yield from compared(
        bench, name, sides, seconds, precisions=TeslaObjective.precisions, layouts=False
    )


def apm_lines(bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve a round at IPC 50, and its update (Eq. 4) by itself beside bare torch."""
    epochs, ipc = (5, 1) if bench.small else (250, 50)
    settings = [f"student_epochs={epochs}", f"checkpoints={CHECKPOINTS}", "rounds=1000000"]
    run = made_up_run(bench, "apm", spec(bench), ipc, settings)
    objective = ApmObjective(run, pool_of(run, "teacher"))
    arithmetic = usual(bench.device)
    step = own_step(objective, arithmetic)
    step()
    taken = in_turn({"round": step}, bench, TIMED * seconds / 2)
    name = title(bench, f"APM round, E = {epochs}", 10 * ipc)
    yield line_of(name, arithmetic, taken["round"])
    reused = made_up_run(bench, "apm", spec(bench), ipc, [*settings, "student_every=1000000"])
    update = ApmObjective(reused, pool_of(reused, "teacher"))  # whose student is trained once
    sides = Sides(partial(own_step, update), partial(bare_update, bench, 10 * ipc))
    name = title(bench, f"APM update (Eq. 4), K = {CHECKPOINTS}", 10 * ipc)
    yield from compared(
        bench, name, sides, seconds / 2, precisions=ApmObjective.precisions, layouts=False
    )


def dm_lines(bench: Bench, seconds: float) -> Iterator[Line]:
    """Serve an update at IPC 10, with 256 real images of each class."""
    real = images(bench, 256)
    settings = ["updates=1000000", f"batch_real={real}"]
    run = made_up_run(bench, "dm", spec(bench), images(bench, 100) // 10, settings, 10 * real)
    objective = MatchingObjective(run)
    sides = Sides(partial(own_step, objective), partial(bare_dm, bench, run, real))
    name = title(bench, f"DM update, {real} real images of each class", 100)
    yield from compared(
        bench, name, sides, seconds, precisions=MatchingObjective.precisions, layouts=False
    )


def teddy_lines(bench: Bench, seconds: float, *, resnet: bool) -> Iterator[Line]:
    """Serve a step with three members: ConvNet with batch norm, or ResNet-18."""
    count, teachers = images(bench, 100), 1 if bench.small else 3
    settings = [f"teachers={teachers}", f"batch_size={count}", "iterations=1000000"]
    network = "resnet18" if resnet else spec(bench, ":norm=batch")

    def objective() -> TeddyObjective:  # hooks of the bare step stay on its networks
        run = made_up_run(bench, "teddy", network, count // CLASSES, settings)
        return TeddyObjective(run, pool_of(run, "teacher", epochs=range(teachers)))

    def bare(arithmetic: Arithmetic) -> Step:
        own = objective()
        own.pool.lay_out(arithmetic)
        return numbered(plain_steps(own.run, own, own.shards()[0]))

    sides = Sides(lambda arithmetic: own_step(objective(), arithmetic), bare)
    what = f"Teddy step, n = {teachers}"
    name = f"{what}, ResNet-18, 32 px, {count} images" if resnet else title(bench, what, 100)
    yield from compared(bench, name, sides, seconds)


def made_up_run(
    bench: Bench, method: str, network: str, ipc: int, settings: list[str], images: int = 0
) -> Run:
    run = run_of(
        method,
        network,
        SHAPE,
        bench.scratch(),
        bench.device,
        classes=CLASSES,
        ipc=ipc,
        images=images,
        settings=settings,
    )
    return Stage(run, "synthesis").run


def own_step(objective: Objective, arithmetic: Arithmetic) -> Step:
    """Return the engine's own step."""
    shard = objective.shards()[0]
    return numbered(ddkit_steps(objective.run, objective, shard, arithmetic))


def bare_update(bench: Bench, images: int, arithmetic: Arithmetic) -> Step:
    """Return Eq. 4 and its gradient over K students, in one graph."""
    inputs = torch.randn(images, *SHAPE, generator=torch.Generator().manual_seed(0))
    inputs = inputs.to(bench.device).requires_grad_()
    classes = torch.arange(images, device=bench.device) % CLASSES
    frozen = [network(bench, seed).eval().requires_grad_(False) for seed in range(1 + CHECKPOINTS)]
    optimiser = torch.optim.SGD([inputs], 1.0, 0.5, fused=inputs.is_cuda or None)

    def step() -> None:
        target = frozen[0](inputs)
        loss = ALPHA * F.cross_entropy(target, classes)
        for student in frozen[1:]:
            loss = loss - (l1(target, student(inputs)) + EPSILON).log().mean() / CHECKPOINTS
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def bare_dm(bench: Bench, run: Run, real: int, arithmetic: Arithmetic) -> Step:
    """Return an update of DM as its released code takes it: class by class, one backward."""
    device = bench.device
    inputs = run.resident.inputs(torch.arange(len(run.train)))
    members = torch.arange(len(run.train), device=device).view(-1, CLASSES).T  # made up in turn
    own = initial_real(run).to(device).requires_grad_()
    optimiser = torch.optim.SGD([own], 1.0, 0.5, fused=own.is_cuda or None)
    model = network(bench).requires_grad_(False)
    drawn = draw_dsa(1, (32, 32), torch.Generator().manual_seed(0)).to(device)
    spread = [drawn[torch.zeros(n, dtype=torch.int64, device=device)] for n in (real, run.ipc)]

    def step() -> None:
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
        loss = own.new_zeros(())
        for label, part in enumerate(own.split(run.ipc)):
            seen = inputs[members[label][torch.randperm(real, device=device)]]
            target = last_linear_input(model, apply_dsa(seen, spread[0])).mean(0)
            found = last_linear_input(model, apply_dsa(part, spread[1])).mean(0)
            loss = loss + (found - target).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


ITEMS = (
    Item("TESLA", tesla_lines, 8, "2 arithmetics, iterations of 0.2 s and those of bare torch"),
    Item("APM", apm_lines, 8, "rounds of 0.7 s, updates of 10 ms"),
    Item("DM", dm_lines, 4, "2 arithmetics, blocks of 150 ms"),
    Item("Teddy, ConvNet", partial(teddy_lines, resnet=False), 4, "5 arithmetics, blocks of 30 ms"),
    Item(
        "Teddy, ResNet-18", partial(teddy_lines, resnet=True), 7, "5 arithmetics, blocks of 250 ms"
    ),
)

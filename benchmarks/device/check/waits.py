"""No step waits for the device: torch is asked to say where it does."""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import repeat

import torch
from torch import Tensor, nn

from benchmarks.device.check.checking import checked, demand
from benchmarks.device.check.runs import CONVNET, METHODS, Steps, config_of, data, distilled
from benchmarks.device.parts import Bench
from ddkit import networks
from ddkit.data.loading.resident import Resident
from ddkit.data.sources import load as sources
from ddkit.data.space import InputSpace
from ddkit.distilled.dataset import load
from ddkit.evaluation.accuracy import protocol_for
from ddkit.evaluation.training import TrainingSet
from ddkit.training.loop import fit
from ddkit.training.recipe import Recipe
from ddkit.training.stacked import fit_together

WARM_UP, STEPS = 4, 4  # the first steps bring networks to the device
FOREVER = 10**9  # steps of an epoch that never ends
RECIPE = Recipe(epochs=1, schedule="constant")


def steps_do_not_wait(name: str, bench: Bench) -> str:
    """Check the steps of a method's synthesis."""
    steps = Steps(bench, name, iterations_of(name))
    steps.take(WARM_UP)
    return none_of(waits(partial(steps.take, STEPS)))


def iterations_of(name: str) -> str:
    """Return the setting with which a small run takes the steps that are looked at, and a spare."""
    option = {"teddy": "iterations", "tesla": "iterations", "apm": "rounds"}
    return f"{option.get(METHODS[name].name, 'updates')}={WARM_UP + STEPS + 1}"


def training_does_not_wait(together: int, bench: Bench) -> str:
    """Check training steps, of one network or of several at once."""
    made = [network(bench, seed) for seed in range(together)]
    inputs, labels = next(loader(bench).batches(64, torch.Generator(), augmentation="crop-flip"))
    if together == 1:
        training = fit(
            made[0], lambda epoch: repeat((inputs, labels)), RECIPE, steps_per_epoch=FOREVER, seed=0
        )
    else:
        stacked = inputs.expand(together, *inputs.shape), labels.expand(together, -1)
        training = fit_together(
            made, lambda epoch: repeat(stacked), RECIPE, steps_per_epoch=FOREVER, seed=0
        )
    return none_of(in_the_middle(lambda: next(training)))


def batches_do_not_wait(bench: Bench) -> str:
    """Check the batches of real data, from the device's memory."""
    resident = loader(bench)
    for augmentation in ("none", "crop-flip", "rrc-flip"):
        epoch = resident.batches(16, torch.Generator().manual_seed(0), augmentation=augmentation)
        none_of(in_the_middle(lambda epoch=epoch: next(epoch)), f"{augmentation}: ")
    return "no waits"


def evaluation_does_not_wait(bench: Bench) -> str:
    """Check the steps of an evaluation, with its own batches, for hard and for soft labels."""
    dataset = load(distilled(config_of(bench, "Teddy"), bench.scratch()))
    for name in ("dsa", "soft"):
        protocol = protocol_for(name)
        training_set = TrainingSet(dataset, protocol, bench.device)
        training = fit(
            network(bench),
            partial(training_set.batches, 0),
            protocol.recipe.model_copy(update={"epochs": 1000}),
            steps_per_epoch=training_set.steps,
            seed=0,
            loss=training_set.loss,
        )
        none_of(in_the_middle(lambda training=training: next(training)), f"{name}: ")
    return "no waits"


def loader(bench: Bench) -> Resident:
    from ddkit.data.options import DataOptions

    train = sources.load(DataOptions(name=data()), "train", seed=0)
    return Resident(train, InputSpace.fit(train, "standard"), bench.device)


def network(bench: Bench, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    made = networks.create(CONVNET, classes=10, shape=(3, 16, 16), generator=generator)
    return made.to(bench.device)


def in_the_middle(step: Callable[[], object]) -> Counter[str]:
    """Return the waits of some steps after others."""

    def steps(count: int) -> None:
        for _ in range(count):
            step()

    steps(WARM_UP)
    return waits(partial(steps, STEPS))


def waits(work: Callable[[], object]) -> Counter[str]:
    """Return how often some work waits for the device, by the line that does."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    said = [each for each in caught if "synchroniz" in str(each.message)]
    return Counter(f"{each.filename.rsplit('/', 1)[-1]}:{each.lineno}" for each in said)


def none_of(found: Counter[str], where: str = "") -> str:
    """Return that there are no waits; raise where and how many there are."""
    lines = ", ".join(f"{count} at {line}" for line, count in found.most_common(5))
    demand(not found, f"{where}waits in {STEPS} steps: {lines}")
    return "no waits"


def looked_for(bench: Bench) -> str:
    """Check that torch says where something waits: else the other checks say nothing."""
    inputs: Tensor = torch.ones(3, device=bench.device)
    found = waits(lambda: inputs.sum().item())
    demand(sum(found.values()) > 0, "torch does not say that reading a number waits")
    return next(iter(found))


ITEMS = [
    checked("waits are seen", looked_for, 1, "one number read", cuda=True),
    *(
        checked(f"no step waits: {name}", partial(steps_do_not_wait, name), 2, "9 steps", cuda=True)
        for name in METHODS
        if METHODS[name].name != "herding"
    ),
    *(
        checked(
            f"no training step waits: {count} at once",
            partial(training_does_not_wait, count),
            1,
            "8 steps",
            cuda=True,
        )
        for count in (1, 10)
    ),
    checked("no batch waits", batches_do_not_wait, 1, "24 batches", cuda=True),
    checked("no step of an evaluation waits", evaluation_does_not_wait, 3, "16 steps", cuda=True),
]

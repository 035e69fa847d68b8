"""A step of IDM and of NCFM against bare torch: python -m benchmarks.matching_step

The floor is the same arithmetic, written out in torch over the same networks: real images of each
class are there as network inputs, augmentations are drawn, weights are in memory. The steps are
those of the engine: images are drawn and decoded to inputs, augmentations drawn, networks brought
from the queue or the pool, batch by batch.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from ddkit_matching.objective import MatchingObjective, augmented
from ddkit_matching.options import MatchingOptions

from benchmarks.teddy_step import ddkit_steps
from benchmarks.tesla_step import seconds
from benchmarks.writing import write
from ddkit import draw_dsa, draw_scheme
from ddkit.data.augmentation.dsa import DsaParameters
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage
from ddkit.synthesis.initial import initial_inputs

COUNT = 12
CASES = {  # method, network, image side, images per class, options
    "IDM, ConvNet-3 ×64, 32 px, IPC 4": (
        "idm",
        "convnet:depth=3:width=64",
        32,
        4,
        ["queue_trained=2", "queue_steps=2", "batch_network=64", "batch_real=64"],
    ),
    "NCFM, ConvNet-3 ×64, 32 px, IPC 4": (
        "ncfm",
        "convnet:depth=3:width=64",
        32,
        4,
        ["members=2", "train_epochs=1", "together=1", "frequencies=1024", "batch_real=64"],
    ),
}


def objective_of(
    method: str, network: str, side: int, ipc: int, settings: list[str], folder: Path
) -> MatchingObjective:
    common = {"ipc": ipc, "network": network, "threads": torch.get_num_threads()}
    config = resolve(Request(method, common, {"name": "digits", "resize": side}, settings, "none"))
    run = prepare(config, folder)
    return MatchingObjective(Stage(run, "synthesis").run, stage_pools.open_pool(run, "synthesis"))


class Floor:
    """What both floors have: inputs of each class, images, networks, drawn augmentations."""

    def __init__(self, objective: MatchingObjective) -> None:
        run, self.options = objective.run, objective.options
        shard = objective.shards()[0]
        self.shard = shard
        self.images = initial_inputs(run, shard).requires_grad_()
        self.networks = [run.network(run.generator("bare", i)).eval() for i in range(4)]
        self.real = [
            run.resident.inputs(rows[: self.options.batch_real]) for rows in objective.members
        ]
        self.everything = run.resident.inputs(torch.arange(len(run.train)))
        self.labels = run.train.labels
        self.size = (run.shape[1], run.shape[2])
        self.range = run.space.valid_range()

    def drawn(self, step: int, label: int) -> DsaParameters:
        draw = torch.Generator().manual_seed(100 * step + label)
        if self.options.augmentation == "dsa":
            return draw_dsa(1, self.size, draw, flip=False)
        return draw_scheme(self.options.augmentation, 1, self.size, draw, flip=False)

    def features(self, network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        return network.flatten(network.features(inputs))

    def of_class(self, label: int) -> torch.Tensor:
        return self.images[label * self.options_ipc : (label + 1) * self.options_ipc]

    @property
    def options_ipc(self) -> int:
        return len(self.images) // len(self.real)


def idm_floor(objective: MatchingObjective) -> Callable[[int], None]:
    """Return DM with a class term in one network, and SGD of two others."""
    bare, options = Floor(objective), objective.options
    pixels = torch.optim.SGD([bare.images], lr=options.lr_images)
    trained = bare.networks[1 : 1 + options.queue_trained]
    sgd = [torch.optim.SGD(n.parameters(), 0.01, 0.9, weight_decay=5e-4) for n in trained]
    matched = bare.networks[0].requires_grad_(False)

    def step(number: int) -> None:
        pixels.zero_grad()
        for label, real in enumerate(bare.real):
            drawn = bare.drawn(number, label)
            with torch.no_grad():
                target = bare.features(matched, augmented(real, drawn)).mean(0)
            own = bare.features(matched, augmented(bare.of_class(label), drawn))
            logits = matched.classifier(own)
            classes = torch.full((len(own),), label)
            loss = (own.mean(0) - target).square().sum() + F.cross_entropy(logits, classes)
            loss.backward()
        pixels.step()
        for network, optimiser in zip(trained, sgd, strict=True):
            for batch in range(options.queue_steps):
                rows = slice(batch * options.batch_network, (batch + 1) * options.batch_network)
                optimiser.zero_grad()
                loss = F.cross_entropy(network(bare.everything[rows]), bare.labels[rows])
                loss.backward()
                optimiser.step()

    return step


def ncfm_floor(objective: MatchingObjective) -> Callable[[int], None]:
    """Return the loss of characteristic functions between two networks, and the calibration."""
    bare, options = Floor(objective), objective.options
    pixels = torch.optim.AdamW([bare.images], lr=options.lr_images, weight_decay=0)
    before, trained, between = (n.requires_grad_(False) for n in bare.networks[:3])

    def function(features: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
        angles = frequencies @ F.normalize(features, dim=1).T
        return torch.stack([angles.cos().mean(1), angles.sin().mean(1)])

    def step(number: int) -> None:
        pixels.zero_grad()
        for own, first, last in zip(
            *(n.parameters() for n in (between, before, trained)), strict=True
        ):
            torch.lerp(last, first, 0.3, out=own.data)
        for label, real in enumerate(bare.real):
            drawn = bare.drawn(number, label)
            images = bare.of_class(label)
            with torch.no_grad():
                target = bare.features(between, augmented(real, drawn))
            own = bare.features(between, augmented(images, drawn))
            frequencies = torch.randn(options.frequencies, own.shape[1])
            ours, theirs = function(own, frequencies), function(target, frequencies)
            lengths = ours.norm(dim=0), theirs.norm(dim=0)
            turn = 2 * (lengths[0] * lengths[1] - (ours * theirs).sum(0))
            whole = 0.5 * (lengths[0] - lengths[1]).square() + 0.5 * turn.clamp_min(1e-12)
            (300 * whole.sqrt().mean()).backward()
            logits = trained(augmented(images, bare.drawn(number, 50 + label)))
            F.cross_entropy(logits, torch.full((len(logits),), label)).backward()
        pixels.step()
        with torch.no_grad():
            torch.clamp(bare.images, *bare.range, out=bare.images)

    return step


FLOORS = {"idm": idm_floor, "ncfm": ncfm_floor}


def time_case(
    method: str, network: str, side: int, ipc: int, settings: list[str], folder: Path
) -> dict[str, float]:
    """Measure both in turn: what disturbs the machine hits both."""
    objective = objective_of(method, network, side, ipc, settings, folder)
    assert isinstance(objective.options, MatchingOptions)
    runs = {
        "ddkit": ddkit_steps(objective.run, objective, objective.shards()[0]),
        "floor": FLOORS[method](objective),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(COUNT):
        for name, step in runs.items():
            times[name].append(seconds(step, number))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        times = {case: time_case(*about, Path(name)) for case, about in CASES.items()}
    rows = [
        (
            case,
            *(f"{1e3 * t[kind]:.0f} ms" for kind in ("floor", "ddkit")),
            f"{t['ddkit'] / t['floor']:.3f}",
        )
        for case, t in times.items()
    ]
    write(
        "matching_step",
        {"seconds": times},
        rows,
        ["one step", "floor", "ddkit", "ddkit / floor"],
        "Medians of steps taken in turn; the first is left out.",
    )


if __name__ == "__main__":
    main()

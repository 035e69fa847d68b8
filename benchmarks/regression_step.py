"""A step of FRePo and of RCIG against bare torch: python -m benchmarks.regression_step

The floor is the same arithmetic, written out in torch over the same networks: the real batch is
there as network inputs, the network of the step too. The steps are those of the engine: images are
drawn and decoded to inputs, networks brought from the pool and trained in their turn. Memory is
the peak over some steps, early and late.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from ddkit_regression.first_order import body_of
from ddkit_regression.objective import RegressionObjective
from torch import Tensor, nn

from benchmarks.teddy_step import ddkit_steps
from benchmarks.tesla_step import seconds
from benchmarks.writing import write
from ddkit import AdaBelief, Lamb, initial_inputs
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage
from ddkit.runtime.memory import PeakMemory

COUNT = 14
EARLY, LATE = 2, 12  # steps over which the peak of memory is taken
NETWORK = "convnet:depth=3:width=32:norm=none:growth=2:init=lecun"
CASES = {  # method, options; the pool is small, so that turns of training come to each network
    "FRePo, ConvNet-3 ×32 to ×128, 32 px, IPC 4": ("frepo", 4, ["batch_real=256", "networks=3"]),
    "RCIG, exact, the same, IPC 1": (
        "rcig",
        1,
        ["batch_real=128", "networks=3", "network_steps=1", "inner=exact"],
    ),
}


def objective_of(method: str, ipc: int, settings: list[str], folder: Path) -> RegressionObjective:
    common = {"ipc": ipc, "network": NETWORK, "threads": torch.get_num_threads()}
    config = resolve(Request(method, common, {"name": "digits", "resize": 32}, settings, "none"))
    return RegressionObjective(Stage(prepare(config, folder), "synthesis").run)


class Floor:
    """What both floors have: the real batch, the set, the network of the step and its Adam."""

    def __init__(self, objective: RegressionObjective) -> None:
        run, self.options = objective.run, objective.options
        shard = objective.shards()[0]
        self.classes = len(run.classes)
        self.images = initial_inputs(run, shard).requires_grad_()
        self.targets = (F.one_hot(shard.classes, self.classes) - 1 / self.classes).requires_grad_()
        rows = torch.arange(self.options.batch_real)
        self.real, self.labels = run.resident.inputs(rows), run.train.labels[rows]
        spec = NETWORK + ":activation=softplus" * self.options.softplus
        self.network = run.network(run.generator("bare"), spec)
        self.adam = torch.optim.Adam(self.network.parameters(), self.options.lr_network)

    def features(self, inputs: Tensor) -> Tensor:
        return self.network.flatten(self.network.features(inputs))

    def margin(self, most: float) -> Tensor:
        largest, second = self.targets.topk(2, dim=1).values.unbind(1)
        return (largest - second).clamp_max(most).mean()

    def train(self) -> None:
        self.network.requires_grad_(True)
        self.adam.zero_grad()
        left = self.network(self.images.detach()) - self.targets.detach()
        (0.5 * left.square().sum(1).mean()).backward()
        self.adam.step()


def frepo_floor(objective: RegressionObjective) -> Callable[[int], None]:
    """Return ridge regression on features in float64, LAMB, and a step of the network."""
    bare = Floor(objective)
    moved = [Lamb([leaf], lr=3e-4) for leaf in (bare.images, bare.targets)]
    truth = F.one_hot(bare.labels, bare.classes) - 1 / bare.classes

    def step(_: int) -> None:
        bare.network.requires_grad_(False)
        bare.images.grad = bare.targets.grad = None
        own = bare.features(bare.images).double()
        with torch.no_grad():
            theirs = bare.features(bare.real).double()
        kernel = own @ own.T
        ridge = 1e-6 * kernel.diagonal().mean() * torch.eye(len(own)).double()
        lower = torch.linalg.cholesky(kernel + ridge)
        found = theirs @ own.T @ torch.cholesky_solve(bare.targets.double(), lower)
        loss = 0.5 * (found - truth).square().sum(1).mean() - bare.margin(1 / bare.classes)
        loss.backward()
        for optimiser in moved:
            optimiser.step()
        bare.train()

    return step


def rcig_floor(objective: RegressionObjective) -> Callable[[int], None]:
    """Return the gradient through the closed form, with its Jacobian in memory, and AdaBelief."""
    bare = Floor(objective)
    temperature = torch.zeros((), requires_grad=True)
    leaves = [bare.images, bare.targets, temperature]
    moved = [AdaBelief([leaf], lr=3e-3) for leaf in leaves]
    names = list(body_of(bare.network))
    ridge = objective.options.ridge * len(bare.images)

    def pulled(logits: Tensor, vector: Tensor, *, create: bool = False) -> Tensor:
        slopes = torch.autograd.grad(logits, body(), vector.float(), True, create)
        return torch.cat([slope.flatten() for slope in slopes])

    def body() -> list[nn.Parameter]:
        own = dict(bare.network.named_parameters())
        return [own[name] for name in names]

    def jacobian() -> Tensor:
        weights = {k: w.detach() for k, w in bare.network.named_parameters()}

        def logits(part: dict[str, Tensor], image: Tensor) -> Tensor:
            return torch.func.functional_call(bare.network, {**weights, **part}, image[None])[0]

        rows = torch.func.vmap(torch.func.jacrev(logits), in_dims=(None, 0))(
            {name: weights[name] for name in names}, bare.images.detach()
        )
        return torch.cat([rows[name].flatten(2) for name in names], 2).flatten(0, 1)

    def pushed(inputs: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        features = bare.features(inputs)
        logits = bare.network.classifier(features)
        u = torch.zeros_like(logits, requires_grad=True)
        (found,) = torch.autograd.grad(pulled(logits, u, create=True), u, tau)
        return found.double(), features.detach().double()

    def step(_: int) -> None:
        bare.network.requires_grad_(True).classifier.weight.requires_grad_(False)
        features = bare.features(bare.images)
        logits = bare.network.classifier(features)
        own = features.detach().double().requires_grad_()
        identity = torch.eye(len(own)).double()
        matrix = jacobian()
        system = (matrix @ matrix.T).double() + torch.kron(
            (own @ own.T).detach() + ridge * identity, torch.eye(bare.classes).double()
        )
        lower = torch.linalg.cholesky(system)

        def back(right: Tensor) -> Tensor:
            return matrix.T @ torch.cholesky_solve(right.double()[:, None], lower)[:, 0].float()

        def weights(own: Tensor, left: Tensor) -> Tensor:
            return torch.cholesky_solve(left, torch.linalg.cholesky(own @ own.T + ridge * identity))

        tau = back(bare.targets.detach().flatten())
        shape = bare.targets.shape
        at = (matrix @ tau).view(shape).double().requires_grad_()
        wanted = bare.targets.detach().double().requires_grad_()
        theirs, seen = pushed(bare.real, tau)
        theirs.requires_grad_()
        found = theirs + seen @ (own.T @ weights(own, wanted - at))
        loss = F.cross_entropy(temperature.exp() * found, bare.labels)
        loss = loss - bare.margin(0.5 / bare.classes)
        inputs = [theirs, own, at, wanted]
        by_theirs, by_own, by_at, by_wanted, by_targets, by_temperature = torch.autograd.grad(
            loss, [*inputs, bare.targets, temperature]
        )
        slope = pulled(bare.network(bare.real), by_theirs) + (by_at.flatten().float() @ matrix)
        scale = ridge / bare.targets.numel()
        v = (slope - back(matrix @ slope)) / scale
        along = (matrix @ v).view(shape).double().requires_grad_()
        inner = scale * (along * weights(own, wanted - at)).sum()
        to_own, to_at, to_wanted, to_along = torch.autograd.grad(inner, [own, at, wanted, along])
        value = (features * (by_own + to_own).float()).sum()
        value = value + (pulled(logits, by_at + to_at, create=True) * tau).sum()
        value = value + (pulled(logits, to_along, create=True) * v).sum()
        (bare.images.grad,) = torch.autograd.grad(value, bare.images)
        bare.targets.grad = by_targets + (by_wanted + to_wanted).float()
        temperature.grad = by_temperature
        for optimiser in moved:
            optimiser.step()
        bare.train()

    return step


FLOORS = {"frepo": frepo_floor, "rcig": rcig_floor}


def time_case(method: str, ipc: int, settings: list[str], folder: Path) -> dict[str, float]:
    """Measure both in turn: what disturbs the machine hits both. And the peak of memory."""
    objective = objective_of(method, ipc, settings, folder)
    ours = ddkit_steps(objective.run, objective, objective.shards()[0])
    runs = {"ddkit": ours, "floor": FLOORS[method](objective)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(COUNT):
        for name, step in runs.items():
            times[name].append(seconds(step, number))
    found = {name: statistics.median(values[1:]) for name, values in times.items()}
    for name, steps in (("early", EARLY), ("late", LATE)):
        with PeakMemory(objective.run.device) as memory:
            for number in range(COUNT, COUNT + steps):
                ours(number)
        found[f"{name}_bytes"] = memory.peak
    return found


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        times = {
            case: time_case(*about, Path(name) / str(number))
            for number, (case, about) in enumerate(CASES.items())
        }
    rows = [
        (
            case,
            *(f"{1e3 * t[kind]:.0f} ms" for kind in ("floor", "ddkit")),
            f"{t['ddkit'] / t['floor']:.3f}",
            *(f"{t[f'{kind}_bytes'] / 1e6:.1f} MB" for kind in ("early", "late")),
        )
        for case, t in times.items()
    ]
    write(
        "regression_step",
        {"steps": times},
        rows,
        [
            "one step",
            "floor",
            "ddkit",
            "ddkit / floor",
            f"peak of {EARLY} steps",
            f"of {LATE}",
        ],
        "Medians of steps taken in turn; the first is left out. The floor is bare torch.",
    )


if __name__ == "__main__":
    main()

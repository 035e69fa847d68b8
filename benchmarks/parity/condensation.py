"""DC, DSA and DM: a step of all images, and each operation of DSA; evaluation under DSA."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean, median, stdev
from types import SimpleNamespace

import torch
from ddkit_matching.objective import MatchingObjective
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.device.made_up import set_of
from benchmarks.parity.foreign import Checkout, Repository, quiet
from benchmarks.parity.inputs import CPU, NETWORK, Inputs, twin
from benchmarks.parity.rows import Pair, Row, apart, compared, furthest, timed
from ddkit.data.augmentation import dsa
from ddkit.data.loading.resident import Resident
from ddkit.evaluation.accuracy import evaluate_with, protocol_for
from ddkit.evaluation.training import create
from ddkit.pipeline.stages import Stage

REPOSITORY = Repository(
    "VICO-UoE/DatasetCondensation", ("main.py", "main_DM.py", "networks.py", "utils.py")
)
IPC, REAL = 10, 64
PLACES = {
    "DC": ("main.py", ("main", "exp", "it", "ol")),
    "DSA": ("main.py", ("main", "exp", "it", "ol")),
    "DM": ("main_DM.py", ("main", "exp", "it")),
}


def rows(checkout: Checkout, inputs: Inputs) -> Iterator[Row]:
    for name in PLACES:
        yield step_row(checkout, inputs, name)
    yield operations_row(checkout)
    yield evaluation_row(checkout, inputs)


def step_row(checkout: Checkout, inputs: Inputs, name: str) -> Row:
    """Compare the first step of a method: the same network, real and synthetic images."""
    file, within = PLACES[name]
    lines = checkout.lines(file, within, "loss", "loss")
    augmentation = "dsa" if name == "DSA" else "none"
    settings = (f"batch_real={REAL}", f"augmentation={augmentation}")
    run = Stage(inputs.run(name.lower(), IPC, *settings), "synthesis").run
    objective = MatchingObjective(run)
    shard = objective.shards()[0]
    start = objective.initialise(shard)["images"].value.detach()
    drawn = [
        objective._drawn("real images", shard, 0, label, REAL) for label in range(inputs.classes)
    ]
    whole = run.resident.inputs(torch.arange(len(run.train)))  # as the released code keeps them
    network = twin(
        checkout.module("networks.py"), objective._chosen(shard, start, 0).network
    ).requires_grad_(name != "DM")
    args = SimpleNamespace(
        device="cpu",
        model="ConvNet",
        ipc=IPC,
        batch_real=REAL,
        dis_metric="ours",
        dsa=name == "DSA",
        dsa_strategy=dsa.DSA_STRATEGY,
        dsa_param=lines.names["ParamDiffAug"](),
    )

    def theirs() -> Tensor:
        images = start.clone().requires_grad_()
        names = lines.run(
            args=args,
            image_syn=images,
            get_images=lambda label, count: whole[drawn[label]],
            net=network,
            net_parameters=list(network.parameters()),
            embed=network.embed,
            criterion=nn.CrossEntropyLoss(),
            num_classes=inputs.classes,
            channel=start.shape[1],
            im_size=start.shape[2:],
        )
        names["loss"].backward()
        assert images.grad is not None
        return images.grad

    def ours() -> Tensor:
        images = start.clone().requires_grad_()
        objective.source.begin(shard)
        objective.loss(shard, {"images": images}, 0).backward()
        assert images.grad is not None
        return images.grad

    with quiet():
        reference, found = theirs(), ours()
    gap = apart(found, reference)
    same = "equal to the bit" if torch.equal(found, reference) else f"{gap:.0e} in float32"
    return Row(
        f"{name}, a step of {len(start)} images with {REAL} real ones of each class",
        [lines.where],
        "other draws" if name == "DSA" else f"gradient {same}",
        *compared(inputs.seconds, theirs, ours),
        {} if name == "DSA" else {"float32": gap},
    )


def uniform(*spans: Callable[[Tensor], Tensor]) -> Callable[[int, int], Tensor]:
    """Return what makes ddkit's parameters of numbers that released code draws one by one."""

    def made(count: int, side: int) -> Tensor:
        return torch.stack([span(torch.rand(count)) for span in spans], dim=1)

    return made


def integers(low: Callable[[int], int], high: Callable[[int], int]) -> Callable[[int, int], Tensor]:
    def made(count: int, side: int) -> Tensor:
        return torch.stack([torch.randint(low(side), high(side), (count,)) for _ in "yx"], dim=1)

    return made


def stretched(u: Tensor) -> Tensor:
    return u * (dsa.SCALE - 1 / dsa.SCALE) + 1 / dsa.SCALE


REACH, HOLE = (lambda side: int(side * dsa.CROP + 0.5)), (lambda side: int(side * dsa.CUTOUT + 0.5))
DRAWS: dict[str, Callable[[int, int], Tensor]] = {  # after ddkit's descriptions of its parameters
    "color": uniform(
        lambda u: (u - 0.5) * dsa.BRIGHTNESS,
        lambda u: u * dsa.SATURATION,
        lambda u: u + dsa.CONTRAST,
    ),
    "crop": integers(lambda side: -REACH(side), lambda side: REACH(side) + 1),
    "cutout": integers(lambda side: 0, lambda side: side + 1 - HOLE(side) % 2),
    "flip": lambda count, side: torch.rand(count) < dsa.FLIP,
    "scale": lambda count, side: uniform(stretched, stretched)(count, side).flip(1),
    "rotate": lambda count, side: (torch.rand(count) - 0.5) * 2 * dsa.ROTATE / 180 * torch.pi,
}


def operations_row(checkout: Checkout) -> Row:
    """Compare each operation of DSA with the same random numbers."""
    module = checkout.module("utils.py")
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    gaps = {}
    for name, draw in DRAWS.items():
        with torch.random.fork_rng(), quiet():
            torch.manual_seed(1)
            theirs = module.DiffAugment(images, name, param=module.ParamDiffAug())
            torch.manual_seed(1)
            torch.randint(0, 1, size=(1,))  # which operation
            ours = dsa.apply_dsa(images, dsa.DsaParameters(((name, draw(64, 32)),)))
        gaps[name] = furthest(ours, theirs)
    words = ", ".join(f"{name} {gap:.0e}" if gap else f"{name} 0" for name, gap in gaps.items())
    return Row(
        "operations of DSA, one by one",
        ["utils.py: DiffAugment"],
        words,
        figures={"furthest": gaps},
    )


def evaluation_row(checkout: Checkout, inputs: Inputs) -> Row:
    """Train the same initial networks on the same random images, each side with its own draws."""
    module, released = checkout.module("utils.py"), checkout.module("networks.py")
    run = inputs.run("random", 1)
    chosen = set_of(run)
    images = chosen.space.encode(chosen.pixels(torch.arange(len(chosen))))
    test = Resident(inputs.test, run.space, CPU)
    pairs = TensorDataset(test.inputs(torch.arange(len(test))), test.labels)
    protocol = protocol_for("dsa").with_recipe(epochs=inputs.epochs)
    args = SimpleNamespace(
        device="cpu",
        lr_net=protocol.recipe.lr,
        epoch_eval_train=inputs.epochs,
        batch_train=protocol.recipe.batch_size,
        dsa=True,
        dsa_strategy=dsa.DSA_STRATEGY,
        dsa_param=module.ParamDiffAug(),
        dc_aug_param=None,
    )

    def theirs(seed: int) -> float:
        own = create(NETWORK, run.classes, run.shape, seed, CPU)
        loader = DataLoader(pairs, batch_size=256)
        with quiet(), torch.random.fork_rng():
            torch.manual_seed(seed)
            found = module.evaluate_synset(
                seed, twin(released, own), images, chosen.classes, loader, args
            )
        return float(found[2])

    def ours(seed: int) -> float:
        return evaluate_with(protocol, chosen, test, NETWORK, [seed], CPU, together=False).mean

    def train(name: str, side: Callable[[int], float], seed: int) -> None:
        accuracies[name].append(100 * side(seed))

    accuracies: dict[str, list[float]] = {"theirs": [], "ours": []}
    taken: dict[str, list[float]] = {"theirs": [], "ours": []}
    for seed in range(inputs.seeds):
        sides = [("theirs", theirs), ("ours", ours)]
        for name, side in sides[:: -1 if seed % 2 else 1]:
            taken[name].append(timed(partial(train, name, side, seed)))
    ratios = [b / a for a, b in zip(taken["theirs"], taken["ours"], strict=True)]
    seconds = (median(taken["theirs"]), median(taken["ours"]))
    said = [
        f"{fmean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"
        for values in (accuracies["ours"], accuracies["theirs"])
    ]
    return Row(
        f"evaluation, DSA, hard labels: IPC 1, {inputs.epochs} epochs, n = {inputs.seeds}",
        ["utils.py: evaluate_synset"],
        f"{said[0]} % against their {said[1]} %",
        Pair(seconds, median(ratios), len(ratios)),
        {"accuracies": accuracies},
    )

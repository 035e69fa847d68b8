"""IDC: distances by hand, a network that is trained on real data in between, parts of a class."""

import pytest
import torch
import torch.nn.functional as F
from ddkit_matching.aliases import IDC
from ddkit_matching.gradient import gradient_loss
from ddkit_matching.objective import MatchingObjective
from torch import Tensor, nn

from ddkit import DdkitError, HeldPool, Run, apply_dsa, cutmix, draw_scheme, made_up_member
from ddkit.pipeline.resolve import Request, resolve

ON_REAL = {"match": "gradient", "distance": "mse", "train_on": "real"}


def begun(run: Run, pool: HeldPool | None = None) -> tuple[MatchingObjective, Tensor]:
    objective = MatchingObjective(run, pool)
    return objective, objective.initialise(objective.shards()[0])["images"].value


def step_of(objective: MatchingObjective, images: Tensor, step: int) -> Tensor:
    """Return the gradient of the images."""
    images = images.clone().requires_grad_()
    loss = objective.loss(objective.shards()[0], {"images": images}, step)
    return torch.autograd.grad(loss, images)[0]


@pytest.mark.parametrize("distance", ["mse", "l1"])
def test_distances_are_sums_over_the_weights_of_convolutions_alone(distance):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.GroupNorm(2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    real, own = torch.randn(5, 1, 4, 4).double(), torch.randn(2, 1, 4, 4).double()
    slopes = []
    for images in (real, own):
        loss = F.cross_entropy(network(images), torch.full((len(images),), 1))
        slopes.append(torch.autograd.grad(loss, network[0].weight)[0].flatten().tolist())
    apart = [a - b for a, b in zip(*slopes, strict=True)]
    expected = sum(x * x if distance == "mse" else abs(x) for x in apart)
    found = gradient_loss(network, real, own.requires_grad_(), 1, distance)
    assert found.item() == pytest.approx(expected, rel=1e-10)
    assert torch.autograd.gradcheck(lambda x: gradient_loss(network, real, x, 1, distance), own)


def test_a_network_without_convolutions_is_refused_unless_cosines_are_matched(refused, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef make(classes, shape):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], classes))\n"
    )
    line = refused("--network", "./net.py:make", "--set", "outer_loop=2", method="idc")
    assert "distance=mse matches gradients of convolutions" in line
    assert "distance=cosine" in line


def test_the_network_is_trained_on_real_data_with_one_momentum_through_an_outer_loop(made_up):
    run = made_up(
        **ON_REAL,
        outer_loop=3,
        inner_images=10,
        batch_network=4,
        momentum_network=0.9,
        decay_network=0.01,
        network_augmentation="color-crop",
        network_cutmix=0.5,
        early_epochs=1,
        updates=5,
    )
    objective, images = begun(run)
    for step in range(5):
        step_of(objective, images, step)
        if step in (0, 3):
            expected = run.network(run.generator("network", 0, step)).train()
            sgd = torch.optim.SGD(expected.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
        count, place = (24, (0, step, 0)) if step in (0, 3) else (10, (0, step))
        order = torch.randperm(24, generator=run.generator("network images", *place))[:count]
        for number, rows in enumerate(order.split(4)):
            inputs, labels = run.resident.inputs(rows), run.train.labels[rows]
            draw = run.generator("network augmentation", *place, number)
            drawn = draw_scheme("color-crop", len(rows), (8, 8), draw, flip=True)
            assert drawn.operation == "color_crop"
            draw = run.generator("network cutmix", *place, number)
            inputs, targets = cutmix(apply_dsa(inputs, drawn), labels, 3, draw, 0.5)
            sgd.zero_grad()
            F.cross_entropy(expected(inputs), targets).backward()
            sgd.step()
        for name, weight in expected.named_parameters():
            assert torch.equal(objective._network.get_parameter(name), weight), (step, name)


def test_training_on_real_data_serves_distributions_too(made_up):
    run = made_up(match="distribution", train_on="real", outer_loop=4, inner_images=8)
    objective, images = begun(run)
    ages = []
    for step in range(5):
        step_of(objective, images, step)
        ages.append(objective.source.live.ages)
    assert ages == [[0], [1], [2], [3], [0]]


def test_a_step_works_on_some_images_of_each_class(made_up):
    run = made_up(**ON_REAL, batch_syn=3, config={"ipc": 5})
    objective, images = begun(run)
    moved = torch.stack([step_of(objective, images, step).flatten(1).any(1) for step in range(4)])
    assert (moved.view(4, 3, 5).sum(2) == 3).all()
    assert len({tuple(each.tolist()) for each in moved}) == 4


def test_a_network_of_the_pool_may_come_first(made_up):
    run = made_up(**ON_REAL, networks="trained", outer_loop=2, inner_images=8)
    networks = [run.network(run.generator("trained here", i)).eval() for i in range(3)]
    members = [made_up_member("pair-0", 0), made_up_member("pair-0", 2), made_up_member("b", 2)]
    objective, images = begun(run, HeldPool(run, networks, members))
    firsts = []
    for step in range(0, 24, 2):
        step_of(objective, images, step)
        firsts.append(objective._network.classifier.weight.clone())
    last = [network.classifier.weight for network in networks[1:]]  # after training
    found = [[torch.equal(first, weight) for weight in last] for first in firsts]
    assert all(sum(each) == 1 for each in found)
    assert {tuple(each) for each in found} == {(True, False), (False, True)}
    with pytest.raises(DdkitError, match="networks=trained needs a pool"):
        step_of(begun(run)[0], images, 0)


def test_idc_is_its_released_code_with_one_step_for_all_classes():
    found = resolve(Request("idc", {"ipc": 10}, preset="none")).options
    names = ("updates", "outer_loop", "inner_images", "batch_network", "batch_real", "batch_syn")
    assert [found[name] for name in names] == [200_000, 100, 2000, 64, 64, 128]
    std = 0.25  # of CIFAR-10's pixels: slopes are in its units, and so are steps
    assert IDC.options["lr_images"] == pytest.approx(5e-3 / (1 - 0.5) / std**2, rel=0.02)

"""Labels of members that normalise with the batch they label, and that count by their accuracy."""

import pytest
import torch
from ddkit_teddy.relabelling import label
from torch import nn

from ddkit import DdkitError, Synthetic, averaged_logits, label_epochs, networks
from ddkit.data.augmentation.views import render
from ddkit.labels import making
from ddkit.networks import batch_statistics
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.stages import Stage
from ddkit.runtime.interrupt import Stopped
from ddkit.synthesis.initial import initial_real

COMMITTEE = (
    "pool=committee",
    "networks=convnet:depth=1:width=4:norm=batch,convnet:depth=2:width=6:norm=batch",
    "last=6",
)
BATCHES = ("label_statistics=batch", "label_batch=4")


def made(teddy_run, *settings, ipc=1, **common):
    """Return a run of the relabel stage, its pool and images."""
    run = Stage(teddy_run(*settings, ipc=ipc, **common), "relabel").run
    pool = stage_pools.open_pool(run, "relabel")
    return run, pool, Synthetic(initial_real(run), torch.arange(run.total) // ipc)


def batches_of(run, epoch: int, count: int, sizes: list[int]) -> list[torch.Tensor]:
    order = torch.randperm(count, generator=run.generator("labelled batches", epoch))
    return list(order.split(sizes))


def normalised_by_hand(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """A forward pass in which each batch norm is written out."""
    hooks = []
    for layer in networks.batch_norms(network):

        def replaced(layer, arguments, output):
            (x,) = arguments
            mean = x.mean((0, 2, 3), keepdim=True)
            variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
            scale, shift = (p.view(1, -1, 1, 1) for p in (layer.weight, layer.bias))
            return scale * (x - mean) / (variance + layer.eps).sqrt() + shift

        hooks.append(layer.register_forward_hook(replaced))
    logits = network(inputs)
    for hook in hooks:
        hook.remove()
    return logits


def test_labels_of_a_batch_are_those_of_its_own_statistics(teddy_run):
    run, pool, images = made(teddy_run, *BATCHES)
    before = {index: {k: v.clone() for k, v in pool.state(index).items()} for index in range(3)}
    labels = label(run, pool, images)
    pool.max_loaded = 3
    for epoch in range(2):
        views = labels.views_of(epoch)
        for rows in batches_of(run, epoch, 10, [4, 3, 3]):
            inputs = run.space.encode(render(images.images, views, rows))
            found = [normalised_by_hand(pool.network(index), inputs) for index in range(3)]
            torch.testing.assert_close(
                labels.logits[epoch, rows].float(), sum(found) / 3, rtol=5e-3, atol=5e-3
            )
    for index, state in before.items():  # in the file and in the networks, to the byte
        network = pool.network(index).state_dict()
        assert all(torch.equal(tensor, network[name]) for name, tensor in state.items())
    plain = label(*made(teddy_run))
    assert not torch.allclose(plain.logits.float(), labels.logits.float(), atol=0.1)


def test_networks_without_batch_norms_label_as_ever(teddy_run):
    from ddkit.synthesis.budget import HeldPool, made_up_member

    run, _, images = made(teddy_run)
    network = run.network(torch.Generator().manual_seed(1), "convnet:norm=none:width=8").eval()
    pool = HeldPool(run, [network], [made_up_member("teacher")])
    shared = {"epochs": 2, "scale": (0.5, 1.0), "mix": "cutmix", "how": "logits"}
    running, batch = (
        label_epochs(run, images, pool, [0], temperature=1.0, statistics=how, batch=4, **shared)
        for how in ("running", "batch")
    )
    torch.testing.assert_close(batch.logits, running.logits)


def test_running_statistics_are_back_whatever_happens():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).eval()
    network[1].running_mean.fill_(0.3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inputs = torch.randn(5, 1, 4, 4)
    with batch_statistics([network]):
        seen = network(inputs)
    with pytest.raises(RuntimeError), batch_statistics([network]):
        network(torch.randn(5, 2, 4, 4))
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not network[1].training


@pytest.mark.parametrize(
    ("images", "batch", "sizes"), [(10, 16, [10]), (10, 4, [4, 3, 3]), (10, 2, [2] * 5)]
)
def test_batches_are_as_large_as_each_other(teddy_run, monkeypatch, images, batch, sizes):
    run, pool, set_ = made(teddy_run, "label_statistics=batch", f"label_batch={batch}")
    seen = []

    def noted(networks, inputs, how, weights=None):
        seen.append(len(inputs))
        return averaged_logits(networks, inputs, how, weights)

    monkeypatch.setattr(making, "averaged_logits", noted)
    label(run, pool, set_)
    assert seen == sizes * 2


def test_labelling_that_was_stopped_ends_with_the_same_bytes(teddy_run, monkeypatch):
    run, pool, images = made(teddy_run, *COMMITTEE, *BATCHES, "label_epochs=4")
    whole = label(run, pool, images).logits
    asked = []

    def stop_requested():
        asked.append(1)
        return len(asked) == 2

    with monkeypatch.context() as patch:
        patch.setattr(making, "stop_requested", stop_requested)
        with pytest.raises(Stopped):
            label(run, pool, images)
    assert list(run.folder.glob(".labels-*/epochs-00002.safetensors"))
    assert torch.equal(label(run, pool.fresh(), images).logits, whole)
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("settings", [BATCHES, ("weights=holdout",)])
def test_no_recipe_makes_such_labels(teddy_run, settings):
    with pytest.raises(DdkitError) as caught:
        teddy_run(*settings, labels_as="recipe")
    assert str(caught.value) == (
        "--labels-as recipe: 'teddy' makes no labels for every epoch, with these options, that "
        "could be made again while training; choose int8 or another form"
    )


def test_what_makes_labels_refuses_a_recipe_too(teddy_run):
    run, pool, images = made(teddy_run, labels_as="recipe")
    shared = {"epochs": 2, "scale": (0.5, 1.0), "mix": "none", "how": "logits", "temperature": 1.0}
    for more in ({"statistics": "batch"}, {"weights": [0.2, 0.3, 0.5]}):
        with pytest.raises(DdkitError, match=r"a recipe labels with members that count alike"):
            label_epochs(run, images, pool, [0, 1, 2], **shared, **more)


def test_batches_are_for_labels_of_epochs(teddy_run):
    with pytest.raises(DdkitError, match=r"label_statistics=batch is for labels=epoch"):
        teddy_run("label_statistics=batch", "labels=image")


def test_weighted_probabilities_by_hand():
    class Says(nn.Module):
        def __init__(self, *logits):
            super().__init__()
            self.logits = torch.tensor([logits])

        def forward(self, x):
            return self.logits

    found = averaged_logits([Says(1.0, 2.0), Says(0.0, 3.0)], torch.ones(1), "logits", [0.25, 0.75])
    assert found.tolist() == [[0.25, 2.75]]
    both = [torch.tensor([1.0, 2.0]).softmax(0), torch.tensor([0.0, 3.0]).softmax(0)]
    mixed = averaged_logits(
        [Says(1.0, 2.0), Says(0.0, 3.0)], torch.ones(1), "probabilities", [0.25, 0.75]
    )
    torch.testing.assert_close(mixed.exp()[0], 0.25 * both[0] + 0.75 * both[1])


@pytest.mark.parametrize("kind", ["image", "epoch"])
def test_labels_of_a_committee_are_weighted_by_the_holdout(teddy_run, kind):
    settings = (*COMMITTEE, "weights=holdout", f"labels={kind}", "mix=none")
    run, pool, images = made(teddy_run, *settings, data={"holdout": 0.1})
    found = label(run, pool, images)
    logits = found.logits if kind == "image" else found.logits[1]
    percents = torch.tensor([100 * each.figures["holdout_accuracy"] for each in pool.members])
    shares = torch.softmax(percents.double() / 10, 0).float()
    seen = images.images
    if kind == "epoch":
        seen = render(seen, found.views_of(1), torch.arange(10))
    pool.max_loaded = 2
    inputs = run.space.encode(seen)
    expected = sum(share * pool.network(index)(inputs) for index, share in enumerate(shares))
    torch.testing.assert_close(logits.float(), expected, rtol=1e-2, atol=1e-2)

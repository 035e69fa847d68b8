"""What features are: the input of the last linear layer, or the pixels."""

import pytest
import torch
from ddkit_selection import features
from torch import nn

from ddkit import DdkitError


def test_a_network_without_features_is_refused_with_a_way_out():
    network = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten())
    with pytest.raises(DdkitError, match="does not end in a linear layer") as error:
        features.image_features(network, torch.randn(3, 1, 2, 2))
    assert str(error.value).endswith("choose another one (--network), or --set features=pixels")


def test_features_of_several_networks_stand_side_by_side(objective):
    work = objective("teachers=2")
    rows = torch.arange(9)
    inputs = work.run.resident.inputs(rows)
    first, second = (features.network_features(work.run, work.pool, [i], rows) for i in (0, 1))
    assert first.shape == (9, 8 * 2 * 2)
    assert first.dtype == torch.float32
    assert not torch.equal(first, second)
    network = work.pool.network(1)
    assert torch.equal(network.classifier(second), network(inputs))
    both = features.network_features(work.run, work.pool, [0, 1], rows)
    assert torch.equal(both, torch.cat([first, second], dim=1))


def test_features_are_taken_batch_by_batch_without_a_graph(objective, monkeypatch):
    work = objective()
    rows = torch.arange(30, 50)
    whole = features.network_features(work.run, work.pool, [0], rows)
    sizes = []
    network = work.pool.network(0)
    network.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    monkeypatch.setattr(features, "BATCH", 8)
    network.requires_grad_(True)
    parts = features.network_features(work.run, work.pool, [0], rows)
    assert sizes == [8, 8, 4]
    assert not parts.requires_grad
    torch.testing.assert_close(parts, whole)


def test_pixel_features_are_the_flattened_network_inputs(run):
    work = run()
    rows = torch.tensor([5, 2])
    expected = work.space.encode(work.train.images[rows].float() / 255).flatten(1)
    torch.testing.assert_close(features.pixel_features(work, rows), expected)

"""Measured statistics against numpy over all data at once."""

import numpy as np
import pytest
import torch
from ddkit_teddy.statistics import measure, recalibrate, references
from torch import nn

CLASSES = 3


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * 4, CLASSES),
        nn.BatchNorm1d(CLASSES),
    ).eval()


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(20, 1, 4, 4, generator=generator), torch.tensor([0] * 12 + [1] * 5 + [2] * 3)


def batches(data, size):
    return zip(data[0].split(size), data[1].split(size), strict=True)


def layer_inputs(network, images) -> list[np.ndarray]:
    first = network[0](images)
    last = network[:5](images)
    return [first.detach().double().flatten(2).numpy(), last.detach().double().unsqueeze(2).numpy()]


def test_exact_statistics_are_those_of_all_data_at_once(network, data):
    found = references(measure(network, batches(data, 7), CLASSES), classwise=False)
    for reference, features in zip(found, layer_inputs(network, data[0]), strict=True):
        channels = features.transpose(1, 0, 2).reshape(features.shape[1], -1)
        np.testing.assert_allclose(reference.mean, channels.mean(1), rtol=1e-5)
        np.testing.assert_allclose(reference.variance, channels.var(1, ddof=1), rtol=1e-5)
        assert reference.class_means is None


def test_class_wise_statistics_give_each_class_the_same_share(network, data):
    images, labels = data
    found = references(measure(network, batches(data, 7), CLASSES), classwise=True)
    for reference, features in zip(found, layer_inputs(network, images), strict=True):
        means, squares = [], []
        for label in range(CLASSES):
            own = (
                features[(labels == label).numpy()]
                .transpose(1, 0, 2)
                .reshape(features.shape[1], -1)
            )
            means.append(own.mean(1))
            squares.append((own**2).mean(1))
        np.testing.assert_allclose(reference.class_means, np.stack(means), rtol=1e-5)
        mean = np.mean(means, axis=0)
        np.testing.assert_allclose(reference.mean, mean, rtol=1e-5)
        np.testing.assert_allclose(
            reference.variance, np.mean(squares, axis=0) - mean**2, rtol=1e-4
        )


def test_inputs_of_convolutions_come_after_those_of_batch_norms(network, data):
    norms = measure(network, batches(data, 7), CLASSES)
    found = measure(network, batches(data, 7), CLASSES, convolutions=True)
    assert all(torch.equal(found[name], tensor) for name, tensor in norms.items())
    *_, last = references(found, classwise=False)
    assert len(references(norms, classwise=False)) == 2
    np.testing.assert_allclose(last.mean, [data[0].mean()], rtol=1e-5)
    np.testing.assert_allclose(last.variance, [data[0].var()], rtol=1e-5)


def test_batch_size_does_not_matter(network, data):
    one = measure(network, batches(data, 20), CLASSES)
    many = measure(network, batches(data, 3), CLASSES)
    assert one.keys() == many.keys()
    for name in one:
        torch.testing.assert_close(one[name], many[name])


def test_recalibrated_statistics_are_the_average_over_batches(network, data):
    momentum = network[1].momentum
    recalibrate(network, list(batches(data, 10)))
    first = network[0](data[0]).detach().double()
    expected_mean = first.mean((0, 2, 3))
    halves = [half.var((0, 2, 3), correction=1) for half in first.split(10)]
    np.testing.assert_allclose(network[1].running_mean, expected_mean, rtol=1e-5)
    np.testing.assert_allclose(network[1].running_var, torch.stack(halves).mean(0), rtol=1e-5)
    assert network[1].momentum == momentum
    assert not network.training

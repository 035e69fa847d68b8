"""RFAD's kernel: its law, its shape, and the draws of its networks."""

import torch
from ddkit_regression.kernels import RandomFeatures
from ddkit_regression.random_features import drawn, random_kernels
from torch import nn

from ddkit import last_linear_input


def wide() -> nn.Module:
    """One hidden layer without images: random features have a closed form there."""
    layers = [nn.Flatten(), nn.Linear(5, 3000), nn.ReLU(), nn.Linear(3000, 2)]
    return nn.Sequential(*layers).double().requires_grad_(False)


def test_many_random_networks_have_the_kernel_of_infinitely_many(draw):
    x = draw(0, 3, 5)
    networks = [drawn(wide(), torch.Generator().manual_seed(seed)) for seed in range(20)]
    _, found = random_kernels(networks, x, [x])
    covariance = 2 * x @ x.T / 5 + 0.01
    lengths = covariance.diagonal().sqrt()
    cosine = (covariance / torch.outer(lengths, lengths)).clamp(-1, 1)
    angle = cosine.acos()
    arc = (angle.sin() + (torch.pi - angle) * cosine) / (2 * torch.pi)
    expected = 2 * torch.outer(lengths, lengths) * arc + 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * expected.max().item())


def test_it_is_the_mean_over_networks_of_products_of_features(network, draw):
    images, real = draw(0, 2, 1, 4, 4), [draw(1, 3, 1, 4, 4), draw(2, 1, 1, 4, 4)]
    networks = [drawn(network, torch.Generator().manual_seed(seed)) for seed in range(2)]
    cross, own = random_kernels(networks, images, real)
    features = [last_linear_input(each, torch.cat([images, *real])) for each in networks]
    dims = features[0].shape[1]
    both = torch.cat(features, 1)
    expected = 2 * both @ both.T / (2 * dims) + 0.01
    torch.testing.assert_close(own, expected[:2, :2], rtol=1e-10, atol=0)
    torch.testing.assert_close(cross, expected[2:, :2], rtol=1e-10, atol=0)


def test_each_step_draws_new_networks_and_each_again(made_up):
    run = made_up(kernel="random")
    kernel = RandomFeatures(run, run.options)
    images = torch.zeros(2, *run.shape)

    def found(number):
        from ddkit_regression.kernels import Step

        shard = type("Shard", (), {"index": 0})
        step = Step(shard, number, {}, images + 1, images[:, 0, 0, :3], [images + 1])
        return kernel.kernels(step, images + 1)[1]

    assert torch.equal(found(0), found(0))
    assert not torch.allclose(found(0), found(1))

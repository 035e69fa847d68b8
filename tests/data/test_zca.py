import numpy as np
import pytest
import torch

from ddkit.data.zca import Zca
from ddkit.runtime.errors import DdkitError


def bytes_of(count: int, shape: tuple[int, int, int] = (3, 4, 4)) -> torch.Tensor:
    """Correlated bytes: smooth fields plus noise."""
    g = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, shape[0], 2, 2, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
    noise = torch.rand(count, *shape, generator=g)
    return ((0.8 * smooth + 0.2 * noise) * 255).to(torch.uint8)


def test_matrix_follows_from_the_unbiased_covariance_as_numpy_finds_it():
    images = bytes_of(2500)  # three chunks, the last one not full
    rows = images.flatten(1).double().numpy() / 255
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False, ddof=1))
    zca = Zca.fit(images, eps=0.1)
    np.testing.assert_allclose(zca.mean, rows.mean(0), rtol=1e-6)
    expected = vectors @ np.diag(1 / np.sqrt(values + 0.1)) @ vectors.T
    np.testing.assert_allclose(zca.matrix, expected, rtol=1e-5, atol=1e-6)
    expected = vectors @ np.diag(np.sqrt(values + 0.1)) @ vectors.T
    np.testing.assert_allclose(zca.inverse, expected, rtol=1e-5, atol=1e-6)


def test_a_relative_ridge_whitens_standardised_pixels_as_numpy_does_in_another_order():
    images = bytes_of(500)
    std = torch.tensor([0.2, 0.3, 0.25])
    pixels = images.movedim(1, 3).double().numpy() / 255
    rows = ((pixels - 0.45) / std.double().numpy()).reshape(500, -1)  # height, width, channels
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False, ddof=1))
    matrix = vectors @ np.diag((values + 0.1 * values.sum() / 48) ** -0.5) @ vectors.T
    expected = ((rows - rows.mean(0)) @ matrix).reshape(pixels.shape).transpose(0, 3, 1, 2)
    zca = Zca.fit(images, std=std)
    found = zca.whiten(images.float() / 255)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(zca.unwhiten(found), images.float() / 255, atol=1e-5)


def test_whitened_data_has_the_identity_as_covariance_when_eps_vanishes():
    images = bytes_of(1500)
    white = Zca.fit(images, eps=1e-9).whiten(images.double() / 255).flatten(1)
    np.testing.assert_allclose(np.cov(white.numpy(), rowvar=False), np.eye(48), atol=1e-3)


def test_unwhiten_undoes_whiten():
    images = bytes_of(64).float() / 255
    zca = Zca.fit(images)
    torch.testing.assert_close(zca.unwhiten(zca.whiten(images)), images, rtol=0, atol=1e-5)


def test_bytes_and_their_floats_give_the_same_transform():
    images = bytes_of(1500)
    of_bytes, of_floats = Zca.fit(images), Zca.fit(images.double() / 255)
    torch.testing.assert_close(of_bytes.matrix, of_floats.matrix)
    torch.testing.assert_close(of_bytes.mean, of_floats.mean)


def test_order_of_the_images_does_not_change_a_bit():
    images = bytes_of(3000) // 12  # dark, so that sums of squares grow past float32's integers
    shuffled = images[torch.randperm(3000, generator=torch.Generator().manual_seed(2))]
    assert torch.equal(Zca.fit(images).matrix, Zca.fit(shuffled).matrix)


@pytest.mark.parametrize(
    ("images", "eps", "message"),
    [
        (torch.zeros(1, 1, 2, 2), 0.1, "ZCA needs at least 2 images, got 1"),
        (torch.zeros(0, 1, 2, 2), 0.1, "ZCA needs at least 2 images, got 0"),
        (torch.zeros(2, 1, 2, 2), 0.0, "eps must be above 0"),
        (torch.zeros(2, 3, 65, 65), 0.1, "the limit is 12288: use the input space 'standard'"),
    ],
)
def test_what_cannot_be_whitened_is_refused(images, eps, message):
    with pytest.raises(DdkitError, match=message):
        Zca.fit(images, eps)


def test_images_of_another_size_are_refused():
    with pytest.raises(DdkitError, match=r"\(3, 8, 8\) have 192 values, but this ZCA .* 48"):
        Zca.fit(bytes_of(9)).whiten(torch.zeros(1, 3, 8, 8))

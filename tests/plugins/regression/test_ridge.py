"""Ridge regression, by hand and in both of its forms, and the terms of the loss."""

import pytest
import torch
from ddkit_regression.ridge import half_squares, margin, predicted, relative
from sklearn.linear_model import Ridge


def test_one_class_and_two_images_by_hand():
    own = torch.tensor([[1.0], [2.0]], dtype=torch.float64)  # a feature of each image
    targets = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    real = torch.tensor([[3.0], [-1.0]], dtype=torch.float64)
    weight = (1 * 1 + 2 * 3) / (1 * 1 + 2 * 2 + 0.5)  # Σ x y / (Σ x² + λ)
    found = predicted(real @ own.T, own @ own.T, targets, 0.5)
    torch.testing.assert_close(found, weight * real, rtol=1e-14, atol=0)


@pytest.mark.parametrize("images", [4, 12])  # fewer and more than features
def test_linear_features_are_ridge_regression_in_both_forms(images, draw):
    own, real, targets = draw(0, images, 7), draw(1, 9, 7), draw(2, images, 3)
    found = predicted(real @ own.T, own @ own.T, targets, 0.3)
    primal = torch.linalg.solve(own.T @ own + 0.3 * torch.eye(7).double(), own.T @ targets)
    torch.testing.assert_close(found, real @ primal, rtol=1e-10, atol=1e-12)
    theirs = Ridge(alpha=0.3, fit_intercept=False).fit(own.numpy(), targets.numpy())
    expected = torch.as_tensor(theirs.predict(real.numpy()))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_a_set_that_has_fewer_images_than_features_predicts_itself(draw):
    own, targets = draw(0, 4, 7), draw(1, 4, 3)
    kernel = own @ own.T
    found = predicted(kernel, kernel, targets, relative(1e-12, kernel))
    torch.testing.assert_close(found, targets, rtol=1e-8, atol=1e-9)


def test_a_relative_ridge_is_in_units_of_the_mean_diagonal():
    assert relative(0.1, torch.tensor([[2.0, 5.0], [5.0, 4.0]])).item() == pytest.approx(0.3)


def test_the_margin_is_the_gap_of_the_two_largest_targets_up_to_a_limit():
    targets = torch.tensor([[0.9, -0.1, 0.1], [0.2, 0.5, 0.4]])
    assert margin(targets, 1.0).item() == pytest.approx((0.8 + 0.1) / 2)
    assert margin(targets, 0.25).item() == pytest.approx((0.25 + 0.1) / 2)
    targets.requires_grad_()
    margin(targets, 0.25).backward()  # the first image has come as far as it shall
    assert targets.grad.tolist() == [[0, 0, 0], [0, 0.5, -0.5]]


def test_squares_are_summed_over_classes_and_averaged_over_images():
    predictions = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    truth = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert half_squares(predictions, truth).item() == pytest.approx((5 + 9) / 4)


def test_predictions_have_the_gradient_of_all_they_depend_on(draw):
    own, real, targets = draw(0, 4, 5), draw(1, 3, 5), draw(2, 4, 2)

    def loss(own, targets):
        kernel = own @ own.T
        return predicted(real @ own.T, kernel, targets, relative(0.1, kernel)).square().sum()

    assert torch.autograd.gradcheck(loss, (own.requires_grad_(), targets.requires_grad_()))

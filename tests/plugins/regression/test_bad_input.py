"""What is wrong with a run of regression is said in one line, before any work."""

import pytest
from ddkit_regression import checking
from ddkit_regression.checking import check_run
from ddkit_regression.options import RegressionOptions

from ddkit import DdkitError
from ddkit.runtime.settings import validated


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": "fixed", "margin": 1.0}, "margin is a term of learned targets"),
        ({"ridge": 0}, "option 'ridge'"),
        ({"kernel": "conv"}, "option 'kernel'"),
        ({"networks": 0}, "option 'networks'"),
        ({"pool_network": "a b"}, "option 'pool_network'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    with pytest.raises(DdkitError) as caught:
        validated(RegressionOptions, options, "the method")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kernel", ["features", "random", "body"])
def test_networks_without_features_of_an_image_are_refused(made_up, tmp_path, kernel):
    path = tmp_path / "own.py"
    path.write_text(
        "from torch import nn\ndef net(classes, shape):\n"
        "    return nn.Sequential(nn.Conv2d(shape[0], classes, shape[1]), nn.Flatten())\n"
    )
    with pytest.raises(DdkitError, match="does not end in a linear layer"):
        check_run(made_up(f"{path}:net", kernel=kernel))
    check_run(made_up(f"{path}:net", kernel="tangent-fc"))  # looks at no network


def test_softplus_is_refused_where_there_is_none(made_up):
    with pytest.raises(DdkitError, match="ConvNet family: use --set softplus=false"):
        check_run(made_up("resnet18:width=4", kernel="body", softplus=True, inner="steps"))


def test_a_system_that_does_not_fit_into_memory_names_the_way_out(made_up, monkeypatch):
    run = made_up(kernel="body", inner="exact")
    check_run(run)
    # 6 images, with their mirror images 12, of 3 classes; 30 weights of the convolution, 3 biases
    unknowns, weights = 36, 33
    needed = unknowns * (2 * weights * 4 + 4 * unknowns * 8)
    run = made_up(kernel="body", inner="exact", flip=True)
    monkeypatch.setattr(checking, "free_memory", lambda device: 2 * needed)
    check_run(run)
    monkeypatch.setattr(checking, "free_memory", lambda device: 2 * needed - 1)
    with pytest.raises(DdkitError, match=r"36 unknowns in 33 weights .* use --set inner=steps"):
        check_run(run)
    check_run(made_up(kernel="body", inner="steps", flip=True))

"""Networks, images and runs small enough for tests in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ddkit_regression.options import RegressionOptions
from torch import Tensor, nn

from ddkit import Run, create_network

CLASSES, SHAPE = 3, (1, 4, 4)
SPEC = "convnet:depth=1:width=3:norm=none:init=lecun:activation=softplus"


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """Return a function that draws normal numbers in float64 from a seed, of a shape."""

    def normal(seed: int, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return normal


@pytest.fixture
def network() -> nn.Module:
    """A ConvNet of 30 weights in its body's convolution, in float64 and eval mode."""
    made = create_network(
        SPEC, classes=CLASSES, shape=SHAPE, generator=torch.Generator().manual_seed(0)
    )
    return made.double().eval().requires_grad_(False)


@pytest.fixture
def made_up(run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that makes a run on a tiny split; options are keywords."""

    def make(network: str = SPEC, config: dict[str, Any] | None = None, **options: Any) -> Run:
        flags = {"method": "regression", "plugin": "regression", **(config or {})}
        small = {"updates": 4, "batch_real": 8, "networks": 2, **options}
        return run(options=RegressionOptions(**small), network=network, **flags)

    return make

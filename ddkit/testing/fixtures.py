"""Fixtures for tests of your own: `pytest_plugins = ["ddkit.testing.fixtures"]` in a conftest.py.

`tiny_split(...)` makes a `Split`, `tiny_run(...)` a `Run` on one, in no time and without a file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from ddkit.config import RunConfig
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.methods.options import MethodOptions
from ddkit.run import Run
from ddkit.testing.data import made_up_split


@pytest.fixture
def tiny_split() -> Callable[..., Split]:
    """Make a split of noise, each class around a grey of its own, so that networks can learn it."""
    return made_up_split


@pytest.fixture
def tiny_run(tmp_path: Path) -> Callable[..., Run]:
    """Make a run of the method "random" on a tiny split; keywords are fields of its config."""

    def make(
        *,
        train: Split | None = None,
        holdout: Split | None = None,
        options: MethodOptions | None = None,
        folder: Path | None = None,
        space: Literal["standard", "zca", "zca-relative", "unit"] = "standard",
        **config: Any,
    ) -> Run:
        train = train or made_up_split()
        fields = {"method": "random", "plugin": "random", "ipc": 2, **config}
        return Run(
            RunConfig.model_validate(fields),
            options or MethodOptions(),
            train,
            holdout,
            InputSpace.fit(train, space),
            torch.device("cpu"),
            folder or tmp_path / "run",
        )

    return make

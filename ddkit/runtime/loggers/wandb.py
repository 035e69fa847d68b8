"""Weights & Biases: the project is "ddkit", or that of WANDB_PROJECT."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ddkit.runtime.errors import DdkitError

try:
    import wandb
except ImportError as error:
    raise DdkitError("--log wandb needs Weights & Biases: pip install 'ddkit[wandb]'") from error


class WeightsAndBiases:
    """Sends figures to Weights & Biases; implements `ddkit.loggers.Logger`."""

    _run: Any

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "ddkit"),
                name=title,
                job_type=folder.name,
                dir=str(folder),
                config=dict(config),
            )
        except wandb.Error as error:
            raise DdkitError(
                f"Weights & Biases cannot start: {error}; run `wandb login`, or set "
                "WANDB_MODE=offline"
            ) from error
        # its own steps must rise over all figures, and those of shards begin again
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def scalar(self, name: str, value: float, step: int) -> None:
        self._run.log({name: value, "step": step})

    def picture(self, name: str, picture: Tensor, step: int) -> None:
        self._run.log({name: wandb.Image(picture.permute(1, 2, 0).numpy()), "step": step})

    def end(self) -> None:
        self._run.finish()

"""TensorBoard: event files in the run's folder; `tensorboard --logdir runs` shows them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ddkit.runtime.errors import DdkitError

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise DdkitError(
        "--log tensorboard needs TensorBoard: pip install 'ddkit[tensorboard]'"
    ) from error


class TensorBoard:
    """Writes event files; implements `ddkit.loggers.Logger`."""

    _writer: SummaryWriter

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        # what an earlier session told is told again: TensorBoard shows the last telling alone
        self._writer = SummaryWriter(str(folder), purge_step=0)
        lines = json.dumps(config, indent=2, sort_keys=True).splitlines()
        self._writer.add_text("config", "\n".join(f"    {line}" for line in lines))  # as Markdown

    def scalar(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def picture(self, name: str, picture: Tensor, step: int) -> None:
        self._writer.add_image(name, picture, step)

    def end(self) -> None:
        self._writer.close()

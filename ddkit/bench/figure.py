"""One figure of a cell, and the images that it is of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddkit.bench.cells import Cell, Role, run_key
from ddkit.config import RunConfig


@dataclass(frozen=True)
class Figure:
    """One figure of a cell: what is trained on, which network, how."""

    cell: Cell
    role: Role
    network: str
    protocol: str
    recipe: str
    step: int = 0  # of a task that has several

    def about(self) -> dict[str, Any]:
        """Return what tables say of it; `settings` is the same for all seeds of a method."""
        config = self.cell.config
        return {
            **self.cell.about(),
            "run": run_key(config),
            "role": self.role,
            "recipe": self.recipe,
            "settings": run_key(config.model_copy(update={"seed": 0})),
            "network": self.network,
            "protocol": self.protocol,
        }


@dataclass(frozen=True)
class Images:
    """What networks are trained on.

    Attributes:
        config: the run that it is of, for the data, the space and the device.
        path: the artifact.
        runs: the keys of the runs that made it, for their cost.
    """

    config: RunConfig
    path: Path
    runs: tuple[str, ...]

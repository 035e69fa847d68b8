"""Where the figures of a run are written beside its files, if anywhere: TensorBoard, W&B, others.

A logger only listens: no byte of a result depends on it, and no configuration holds it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ddkit.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

LOGGERS = Registry(
    "logger",
    "ddkit.loggers",
    {
        "tensorboard": "ddkit.runtime.loggers.tensorboard:TensorBoard",
        "wandb": "ddkit.runtime.loggers.wandb:WeightsAndBiases",
    },
)


class Logger(Protocol):
    """What a class that an entry point of `ddkit.loggers` names can do; it is made without words.

    Making one has no effect; packages that are missing are found out then, or on import.
    """

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        """Begin one session, which tells all of a run's story, also where the run goes on.

        Args:
            folder: for its files; it may not exist yet, and may hold those of earlier sessions.
            title: of the run.
            config: the resolved configuration, as JSON values.

        Raises:
            DdkitError: it cannot work, for a reason that the user can put right.
        """

    def scalar(self, name: str, value: float, step: int) -> None:
        """Take one figure; steps of one name rise, those of several names mix."""

    def picture(self, name: str, picture: "Tensor", step: int) -> None:
        """Take a picture, uint8 (3, height, width)."""

    def end(self) -> None:
        """Write what is not written yet; called once, also after an error."""


class Several:
    """Tells several loggers the same."""

    def __init__(self, loggers: list[Logger]):
        self.loggers = loggers

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        for logger in self.loggers:
            logger.begin(folder, title, config)

    def scalar(self, name: str, value: float, step: int) -> None:
        for logger in self.loggers:
            logger.scalar(name, value, step)

    def picture(self, name: str, picture: "Tensor", step: int) -> None:
        for logger in self.loggers:
            logger.picture(name, picture, step)

    def end(self) -> None:
        for logger in self.loggers:
            logger.end()


def chosen(log: "str | Logger | None") -> Logger | None:
    """Return the logger of this name, or of several with commas; one that was brought, as it is.

    Raises `DdkitError` for an unknown name, and where a package is missing.
    """
    if not isinstance(log, str):
        return log
    loggers: list[Logger] = [LOGGERS.load(name.strip())() for name in log.split(",")]
    return loggers[0] if len(loggers) == 1 else Several(loggers)


@contextmanager
def session(
    logger: Logger | None, folder: Path, what: str, config: Mapping[str, Any]
) -> Iterator[None]:
    """Let a logger hear of `what` is done in a run's folder for the time of the block."""
    if logger is None:
        yield
        return
    logger.begin(folder / "logs" / what, folder.absolute().name, config)
    try:
        yield
    finally:
        logger.end()

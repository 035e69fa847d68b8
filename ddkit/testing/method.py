"""A method under test: what its author says of it, and the fixtures that its tests share."""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

import pytest

from ddkit.labels import Labels
from ddkit.pools.pool import Pool
from ddkit.runtime.process import unchanged
from ddkit.synthesis.images import Synthetic
from ddkit.testing.data import MADE_UP, watched
from ddkit.testing.subject import Subject

Result = TypeVar("Result")


class MethodUnderTest:
    """What an author says of a method; all but its name may be left out.

    Attributes:
        method: the name that `--method` takes: of a method, or an alias.
        settings: options as `--set` takes them, "key=value", small so that tests take seconds. The
            number of steps is 4 unless it stands here.
        network: what `--network` takes.
        ipc: images per class.
        init: what `--init` takes; None leaves it to the method.
        data: what `--data` takes; by default images that are made up, (1, 8, 8), of three classes.
        device: what `--device` takes.
        follows_seed: whether another seed gives other images; not so where real images are chosen
            by a rule that draws nothing.
    """

    method: ClassVar[str]
    settings: ClassVar[Sequence[str]] = ()
    network: ClassVar[str] = "convnet:depth=1:width=8"
    ipc: ClassVar[int] = 2
    init: ClassVar[str | None] = None
    data: ClassVar[str] = MADE_UP
    device: ClassVar[str] = "cpu"
    follows_seed: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
        """The method, at work in a folder that is thrown away."""
        with watched(cls.data) as source, unchanged():
            yield Subject(
                cls.method,
                cls.settings,
                source,
                tmp_path_factory.mktemp(cls.method),
                network=cls.network,
                ipc=cls.ipc,
                init=cls.init,
                device=cls.device,
            )

    # Where a stage fails, one test says so, and those of later stages have nothing to look at.

    @pytest.fixture(scope="class")
    @classmethod
    def pool(cls, subject: Subject) -> Pool:
        return attempted("build_pool", lambda: subject.pool)

    @pytest.fixture(scope="class")
    @classmethod
    def stepping(cls, subject: Subject, pool: Pool) -> Subject:
        """The method, once it is known that it can take a step, if it takes any."""
        if attempted("synthesis_loss", lambda: subject.shards_fault):
            pytest.skip("the hook 'synthesis_loss' fails before: its shards")
        if attempted("synthesis_loss", lambda: subject.steps):
            attempted("synthesis_loss", lambda: subject.stepper("first step").take(0))
        return subject

    @pytest.fixture(scope="class")
    @classmethod
    def moving(cls, stepping: Subject) -> Subject:
        if not stepping.steps:
            pytest.skip("the method takes no steps")
        return stepping

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls, stepping: Subject) -> Synthetic:
        return attempted("synthesis_loss", lambda: stepping.images)

    @pytest.fixture(scope="class")
    @classmethod
    def labels(cls, subject: Subject, images: Synthetic) -> Labels:
        return attempted("relabel", lambda: subject.labels)


def attempted(hook: str, work: Callable[[], Result]) -> Result:
    """Return what `work` returns, or skip the test, since another one says what is wrong."""
    try:
        return work()
    except Exception as error:  # whatever a method under test may raise
        pytest.skip(f"the hook '{hook}' fails before: {type(error).__name__}")

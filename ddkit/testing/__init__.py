"""Tests for authors of methods: one class to inherit, and fixtures. pytest is needed here alone.

    from ddkit.testing import MethodContract

    class TestMine(MethodContract):
        method = "my-method"
        settings = ("iterations=3",)   # small, so that a test takes seconds

pytest then tests every promise that a method makes to the core, on made-up images; a failure says
which hook broke which promise. `MethodUnderTest` lists what else can be said of a method,
`ddkit.testing.fixtures` holds fixtures for tests of your own.
"""

from ddkit.testing.check_promises import CheckPromises
from ddkit.testing.data import made_up_split
from ddkit.testing.label_promises import LabelPromises
from ddkit.testing.option_promises import OptionPromises
from ddkit.testing.repetition_promises import RepetitionPromises
from ddkit.testing.synthesis_promises import SynthesisPromises

__all__ = ["MethodContract", "made_up_split"]


class MethodContract(
    OptionPromises, CheckPromises, SynthesisPromises, RepetitionPromises, LabelPromises
):
    """All promises of a method. A subclass names the method; pytest finds it if it is Test…."""

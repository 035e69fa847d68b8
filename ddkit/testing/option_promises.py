"""What a method promises of its options: they are typed, they last, and they say what a run is."""

from math import isfinite

import pytest

from ddkit.config import StageName, load_config
from ddkit.methods.about import UNREADABLE, about
from ddkit.methods.options import MethodOptions
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.plan import plan
from ddkit.pipeline.stages import Stage
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.settings import validated
from ddkit.testing.check_promises import check
from ddkit.testing.method import MethodUnderTest, attempted
from ddkit.testing.promises import Broken, promise
from ddkit.testing.subject import Subject

WRONG = ("no-such-value", "-1", "[[]]", '{no-such-key = "no-such-value"}')
PER_EPOCH = 10  # batches of an epoch
SCALED: tuple[StageName, ...] = ("pool", "relabel")


class OptionPromises(MethodUnderTest):
    """Of the hook `method_config`."""

    @promise("method_config", "options come back from config.toml as they were")
    def test_options_come_back_from_a_file(self, subject: Subject) -> None:
        path = subject.folder / "config.toml"
        subject.config.save(path)
        loaded = load_config(path)
        for name, value in subject.config.options.items():
            if loaded.options[name] != value:
                raise Broken(f"'{name}' was {value!r} and came back as {loaded.options[name]!r}")
        model = subject.plugin.options_model()
        again = validated(model, loaded.options, "the file").for_ipc(self.ipc)
        for name, value in again.model_dump(mode="json").items():
            if subject.config.options[name] != value:
                was = subject.config.options[name]
                raise Broken(f"'{name}' was {was!r} and is read back as {value!r}")

    @promise("method_config", "an option that is not there is refused")
    def test_unknown_options_are_refused(self, subject: Subject) -> None:
        model = subject.plugin.options_model()
        try:
            model.model_validate({**subject.config.options, "no_such_option": 1})
        except ValueError:
            return
        raise Broken(f"{model.__name__} takes no_such_option=1; leave its model_config as it is")

    @promise("method_config", "a wrong value is refused by a DdkitError of one line")
    def test_wrong_values_are_refused_in_one_line(self, subject: Subject) -> None:
        for name in subject.plugin.options_model().model_fields:
            refusals = [refusal(subject, f"{name}={value}") for value in WRONG]
            if not any(refusals):
                raise Broken(f"'{name}' takes whatever it is given: {', '.join(WRONG)}")

    @promise("method_config", "what it says of the work to do are options and positive numbers")
    def test_the_work_to_do_is_said(self, subject: Subject) -> None:
        check_work(subject.options)

    @promise("method_config", "`shorter` names options, and values that they accept")
    def test_a_run_can_be_made_shorter(self, subject: Subject) -> None:
        options = subject.options
        for name, least in options.shorter:
            if not isinstance(getattr(options, name, None), int):
                raise Broken(
                    f"shorter names '{name}', which is not an option that counts something"
                )
            if getattr(options, name) > least:
                changed = {**options.model_dump(), **options.lowered(name, least)}
                options = validated(type(options), changed, f"lowered('{name}', {least})")

    @promise("method_config", "its about.toml, if there is one, names the option that counts steps")
    def test_what_it_says_of_itself_is_so(self, subject: Subject) -> None:
        said, is_so = about(self.method), subject.plugin.options_model().steps_option
        if said.summary.startswith(UNREADABLE):
            raise Broken(said.summary)
        if said.steps and said.steps != is_so:
            raise Broken(f"steps = '{said.steps}', but its steps_option is {is_so!r}")

    @promise("method_config", "what a run will take can be planned")
    def test_a_run_can_be_planned(self, stepping: Subject) -> None:
        attempted("method_config", lambda: check_work(stepping.options))
        if stepping.opened_test:
            pytest.skip("a hook fails before: it opened the test split")
        run = stepping.run("planned")
        data = Data.of(run.train)
        try:
            check(Stage(run, "synthesis"))
        except DdkitError:
            pytest.skip("a hook fails before: check")
        found = plan(stepping.config, data)
        for name in ("pool_seconds", "synthesis_seconds", "relabel_seconds", "peak_bytes"):
            value = getattr(found, name)
            if not isfinite(value) or value < 0:
                raise Broken(f"the plan's {name} is {value}")


def refusal(subject: Subject, setting: str) -> str | None:
    """Return how a setting is refused, None where it is taken; any other end is `Broken`."""
    try:
        subject.resolved(setting)
    except DdkitError as error:
        if "\n" in str(error):
            raise Broken(f"--set {setting} is refused in several lines: {error}") from error
        return str(error)
    except Exception as error:
        raise Broken(f"--set {setting} ends in a {type(error).__name__}: {error}") from error
    return None


def check_work(options: MethodOptions) -> None:
    """Raise `Broken` where a run could not be scaled by what the options say of its work."""
    names = {"steps_option": options.steps_option, "batch_option": options.batch_option}
    lighter = [("lighter", name) for named in options.lighter.values() for name in named]
    for said, name in [*names.items(), *lighter]:
        if name is not None and name not in type(options).model_fields:
            raise Broken(f"{said} names '{name}', which is not an option")
    changed = {**options.model_dump(), **options.rehearsed()}
    for model in (options, validated(type(options), changed, "rehearsed()")):
        for stage in SCALED:
            check_positive(f"work('{stage}', …)", model.work(stage, PER_EPOCH))
            check_positive(f"volume('{stage}')", model.volume(stage))


def check_positive(what: str, value: float) -> None:
    """Raise `Broken` unless a figure of work is a positive number, by which others are divided."""
    if not isfinite(value) or value <= 0:
        raise Broken(f"{what} is {value}, no positive number")

"""Methods that break a promise are told which one, and of which hook."""

import os
import re
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ddkit.methods.plugin import METHODS

BROKEN = Path(__file__).parent / "broken" / "ddkit_broken.py"
NAMES = re.findall(r"^(\w+) = method\(", BROKEN.read_text(encoding="utf-8"), re.MULTILINE)

# of each method the only test that fails, its hook, and a part of what it says
EXPECTED = {
    "seeds_torch": ("shared_generators_are_not_touched", "synthesis_loss", "generator of torch"),
    "detaches": ("the_gradient_reaches_the_images", "synthesis_loss", "something detaches it"),
    "forgets_the_images": ("the_gradient_reaches_the_images", "synthesis_loss", "no gradient"),
    "changes_rest": ("images_that_are_not_drawn_stay", "synthesis_loss", "step 0 left out"),
    "keeps_graphs": ("memory_does_not_grow_with_the_steps", "synthesis_loss", "their graphs"),
    "shrinks_images": (
        "images_are_decoded_in_the_shape_of_the_data",
        "synthesis_loss",
        "images of (6, 1, 4, 4), not (6, 1, 8, 8)",
    ),
    "forgets_its_state": (
        "a_killed_run_ends_in_the_same_images",
        "synthesis_loss",
        "must be in state_dict()",
    ),
    "loses_an_image": ("shards_hold_each_image_once", "synthesis_loss", "[0, 1, 2, 3, 4] of 6"),
    "gives_a_loss_per_image": (
        "the_loss_is_a_finite_number",
        "synthesis_loss",
        "loss() of step 0 is (6,)",
    ),
    "opens_the_test_split": ("the_test_split_stays_closed", "synthesis_loss", "run.holdout"),
    "changes_the_run_in_its_check": (
        "a_check_leaves_the_run_as_it_was",
        "check",
        "changed the classes of the training images",
    ),
    "opens_test_data_in_its_check": (
        "a_check_leaves_the_run_as_it_was",
        "check",
        "the test split is closed",
    ),
    "gives_wide_labels": ("each_image_has_a_label", "relabel", "(6, 4) of torch.float32, not"),
    "gives_missing_labels": ("each_image_has_a_label", "relabel", "are not finite"),
    "counts_percent": ("each_evaluation_seed_gets_an_accuracy", "evaluate", "(87.2,)"),
    "takes_any_option": ("unknown_options_are_refused", "method_config", "takes no_such_option=1"),
    "crashes_on_options": (
        "wrong_values_are_refused_in_one_line",
        "method_config",
        "--set size=no-such-value ends in a KeyError",
    ),
    "does_no_work": ("the_work_to_do_is_said", "method_config", "work('pool', …) is 0.0"),
}


class Failures:
    """What a session of pytest reports: of each test that fails its method, its name, and why."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, str]] = {name: {} for name in NAMES}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            _, name, test = report.nodeid.replace("::Test_", "::").split("::")
            self.found[name][test.removeprefix("test_")] = str(report.longrepr)


@pytest.fixture(scope="module")
def failures(tmp_path_factory) -> dict[str, dict[str, str]]:
    """Return the message of each test that fails, by method: a session of its own tests all."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copy(BROKEN, folder)
    contracts = "".join(
        f"class Test_{name}(MethodContract):\n    method = '{name}'\n" for name in NAMES
    )
    (folder / "test_them.py").write_text(f"from ddkit.testing import MethodContract\n{contracts}")
    failures = Failures()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("DDKIT_CACHE", str(folder / "cache"))
        for name in NAMES:
            entry = EntryPoint(name, f"ddkit_broken:{name}", "ddkit")
            patch.setitem(METHODS.builtins, name, entry)
        own = [f"--rootdir={folder}", f"--confcutdir={folder}", "-c", os.devnull]
        pytest.main([*own, "-q", "-p", "no:cacheprovider", str(folder)], [failures])
    del sys.modules[BROKEN.stem]  # another test's module may have the name
    return failures.found


def test_each_broken_method_is_expected_to_break_something():
    assert set(EXPECTED) | {"draws_from_torch"} == set(NAMES)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_broken_method_fails_exactly_the_promise_that_it_breaks(name, failures):
    test, hook, said = EXPECTED[name]
    assert list(failures[name]) == [test], failures[name]
    message = failures[name][test]
    assert "\n" not in message
    assert f"the method '{name}' breaks a promise of its hook '{hook}', that " in message
    assert said in message


def test_what_draws_from_shared_generators_is_told_so_and_that_nothing_comes_again(failures):
    assert sorted(failures["draws_from_torch"]) == [
        "a_killed_run_ends_in_the_same_images",
        "loss_and_draw_follow_from_shard_and_step",
        "shared_generators_are_not_touched",
        "the_same_seed_gives_the_same_images",
    ]

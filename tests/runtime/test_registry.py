"""Names are found without importing them, and one broken distribution breaks no other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

from ddkit.labels import HardLabels
from ddkit.methods.options import MethodOptions
from ddkit.methods.plugin import METHODS, Plugin, lookup
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.registry import Registry

LETTERS = {"alpha": "string:ascii_letters", "digits": "string:digits"}


def refusal(function, *arguments) -> str:
    """Return the message of the `DdkitError` that a call raises; it must be one line."""
    with pytest.raises(DdkitError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_is_imported_when_it_is_loaded():
    assert Registry("text", "no.such.group", LETTERS).load("digits") == "0123456789"


def test_an_unknown_name_is_refused_with_the_nearest_one():
    registry = Registry("text", "no.such.group", LETTERS, hint="see `ddkit texts`")
    expected = "unknown text 'digist': did you mean 'digits'? (see `ddkit texts`)"
    assert refusal(registry.load, "digist") == expected


def test_an_unknown_name_with_none_near_lists_the_known_ones():
    registry = Registry("text", "no.such.group", LETTERS)
    assert refusal(registry.load, "zzz") == "unknown text 'zzz': known are: alpha, digits"


def test_an_unknown_method_may_be_near_an_alias():
    assert refusal(lookup, "sre2") == (
        "unknown method 'sre2': did you mean 'sre2l'? (see `ddkit methods`)"
    )


def distribution(folder: Path, name: str, entries: str, module: str | None = None) -> None:
    """Write an installed distribution: its metadata, and its one module."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entries)
    if module is not None:
        (folder / f"{name}.py").write_text(module)


def among(folder: Path, code: str):
    """Run `code` where the distributions in `folder` are installed; it prints one JSON value."""
    program = (
        "import json\nfrom ddkit.runtime.errors import DdkitError\n"
        "from ddkit.methods.plugin import METHODS\n"
        "def refusal(function, *arguments):\n"
        "    try: function(*arguments)\n"
        "    except DdkitError as error: return str(error)\n"
        f"print(json.dumps({code}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def broken(tmp_path) -> Path:
    """A distribution whose module cannot be imported, beside a good one."""
    distribution(
        tmp_path, "badnews", "[ddkit]\nbad = badnews\n", "raise ImportError('no libfoo\\nat all')\n"
    )
    distribution(tmp_path, "goodnews", "[ddkit]\ngood = goodnews\n", "answer = 42\n")
    return tmp_path


def test_a_module_that_cannot_be_imported_leaves_the_others_working(broken):
    names, answer = among(broken, "[METHODS.names(), METHODS.load('good').answer]")
    assert {"bad", "good", "random", "teddy"} <= set(names)
    assert answer == 42


def test_a_module_that_cannot_be_imported_is_refused_with_its_distribution(broken):
    message = among(broken, "refusal(METHODS.load, 'bad')")
    assert message.startswith(
        "the method 'bad' of badnews 1.2 cannot be imported: ImportError: no libfoo"
    )
    assert message.endswith("repair or uninstall that distribution")


def test_a_module_that_is_missing_is_refused_with_its_distribution(tmp_path):
    distribution(tmp_path, "nowhere", "[ddkit]\nlost = nowhere_to_be_found\n")
    message = among(tmp_path, "refusal(METHODS.load, 'lost')")
    assert "of nowhere 1.2 cannot be imported: ModuleNotFoundError: No module named" in message


def test_two_distributions_of_one_name_are_refused(tmp_path):
    distribution(tmp_path, "first", "[ddkit]\nsame = first\n", "")
    distribution(tmp_path, "second", "[ddkit]\nsame = second\n", "")
    message = among(tmp_path, "refusal(METHODS.load, 'same')")
    assert message.startswith("two methods are called 'same': ")
    assert "first (first 1.2)" in message
    assert "second (second 1.2)" in message
    assert message.endswith("uninstall one of the two")


def test_a_distribution_that_takes_the_name_of_ours_is_refused(tmp_path):
    distribution(tmp_path, "rival", "[ddkit]\nrandom = rival\n", "")
    assert "two methods are called 'random'" in among(tmp_path, "refusal(METHODS.names)")


def test_hooks_that_a_method_leaves_out_are_the_defaults(method, run):
    plugin = Plugin(method("toy", synthesis_loss=lambda run, pool: None))
    assert plugin.options_model() is MethodOptions
    assert list(plugin.build_pool(run())) == []


def test_a_hook_of_the_method_goes_before_the_default(method):
    class Options(MethodOptions):
        size: int = 3

    plugin = Plugin(method("toy", method_config=lambda: Options))
    assert plugin.options_model() is Options


def test_a_method_tells_which_hooks_are_its_own_in_the_order_of_a_run(method):
    hooks = {"relabel": lambda run: None, "build_pool": lambda run: []}
    assert Plugin(method("toy", **hooks)).overridden() == ["build_pool", "relabel"]


def test_the_default_labels_are_the_classes(method, run):
    import torch

    from ddkit.synthesis.images import Synthetic

    images = Synthetic(torch.zeros(2, 1, 8, 8), torch.tensor([0, 2]))
    labels = Plugin(method()).relabel(run(), None, images)
    assert isinstance(labels, HardLabels)
    assert labels.classes.tolist() == [0, 2]


def test_a_misspelt_hook_is_refused_by_name(method):
    message = refusal(Plugin, method("toy", synthesis_los=lambda run, pool: None))
    assert message.startswith("the method 'toy' of ddkit has a faulty hook: ")
    assert "synthesis_los'" in message


def test_a_hook_with_a_misspelt_argument_is_refused_by_name(method):
    message = refusal(Plugin, method("toy", build_pool=lambda rum: []))
    assert message.startswith("the method 'toy' of ddkit has a faulty hook: ")
    assert "build_pool" in message
    assert "rum" in message


def test_a_hook_that_returns_the_wrong_thing_is_refused_by_name(method, run):
    plugin = Plugin(method("toy", build_pool=lambda run: 7))
    assert refusal(plugin.build_pool, run()) == (
        "the hook 'build_pool' of the method 'toy' returned a int, not a Sequence; "
        "see docs/architecture.md"
    )


def test_a_method_without_its_one_needed_hook_is_refused(method, run):
    plugin = Plugin(method("toy"))
    assert refusal(plugin.synthesis_loss, run(), None) == (
        "the method 'toy' returned nothing from its hook 'synthesis_loss'"
    )


@pytest.mark.parametrize("options", [pydantic.BaseModel, 3, MethodOptions()])
def test_options_that_are_no_method_options_are_refused(method, options):
    plugin = Plugin(method("toy", method_config=lambda: options))
    message = refusal(plugin.options_model)
    assert "the hook 'method_config' of the method 'toy'" in message


def test_a_stage_of_one_method_leaves_the_hooks_of_another_alone(method):
    class Options(MethodOptions):
        size: int = 3

    first = Plugin(method("first", method_config=lambda: Options))
    Plugin(method("second"))
    assert first.options_model() is Options
    assert set(METHODS.names()) >= {"first", "second"}

"""Published figures: in presets that ddkit brings, and beside what is measured."""

from math import sqrt

import pytest

from ddkit.config import RunConfig
from ddkit.evaluation.protocols import PROTOCOLS
from ddkit.methods.own import in_words
from ddkit.methods.plugin import ALIASES, METHODS, options_of
from ddkit.methods.presets import applied_preset, preset_names
from ddkit.methods.published import Beside, Published, departures, figures_in
from ddkit.networks import parse
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.errors import DdkitError

FIGURE = {"accuracy": 30.0, "protocol": "dsa", "network": "convnet", "where": "Paper, Table 1"}
NAMES = [
    (method, name)
    for method in [*METHODS.entries(), *ALIASES.entries()]
    for name in preset_names(method)
]


def known() -> dict[tuple[str, str], Published]:
    """Return the figures of all presets of ddkit that have one."""
    found = {each: figures_in(applied_preset(*each)) for each in NAMES}
    return {each: figure for each, figures in found.items() for figure in figures}


def test_every_figure_names_what_ddkit_knows():
    for figure in known().values():
        PROTOCOLS.load(figure.protocol)
        parse(figure.network)


@pytest.mark.parametrize(
    ("method", "preset", "text"),
    [
        ("random", "cifar10-ipc10", "26.0 ± 1.2"),
        ("herding", "cifar10-ipc1", "21.5 ± 1.2"),
        ("k-center", "cifar10-ipc10", "14.7 ± 0.9"),
        ("dm", "cifar10-ipc1", "26.0 ± 0.8"),
        ("dsa", "cifar10-ipc1", "28.8 ± 0.7"),
        ("teddy", "cifar10-ipc10-table5", "53.0 ± 0.3"),
        ("tesla", "imagenet-1k-64-ipc50", "27.9 ± 1.2"),
        ("apm", "cifar10-ipc50", "75.0 ± 0.2"),
        ("ftd", "cifar100-ipc10", "43.4"),
        ("datm", "tiny-imagenet-ipc50", "39.7"),
        ("rded", "imagenet-1k-ipc10", "42.0"),
        ("fadrm", "imagenet-1k-ipc50", "59.8"),
        ("frepo", "cifar100-ipc10", "42.5"),
        ("rcig", "cifar10-ipc1", "53.9 ± 1.0"),
        ("sre2lpp", "cifar100-ipc10", "52.1"),
        ("cvdd", "imagenette-ipc1", "36.2"),
    ],
)
def test_figures_are_those_of_the_tables(method, preset, text):
    assert known()[method, preset].text == text


def test_every_published_cifar_row_of_a_paper_is_there():
    assert len([name for name in known() if name[1].startswith("cifar10-ipc")]) == 62
    assert not [name for name in NAMES if "digits" in name[1] and name in known()]


def test_the_difference_is_in_standard_errors_of_both():
    figure = Published(**FIGURE, sd=0.6, n=4)
    found = Beside(figure, (), (0.28, 0.30, 0.32))
    assert found.difference == pytest.approx(0.0)
    found = Beside(figure, (), (0.31, 0.33, 0.35))
    error = sqrt(0.6**2 / 4 + 2.0**2 / 3)  # the sample's deviation is 2 points
    assert found.errors == pytest.approx(3.0 / error)
    assert found.text == f"30.0 ± 0.6 (+3.0, {3.0 / error:.1f} standard errors)"


def test_one_network_is_taken_to_vary_as_the_papers_and_an_unknown_n_is_one():
    found = Beside(Published(**FIGURE, sd=0.6), (), (0.29,))
    assert found.errors == pytest.approx(-1.0 / (0.6 * sqrt(2)))
    assert Beside(Published(**FIGURE), (), (0.29, 0.30)).errors is None
    assert Beside(Published(**FIGURE), (), (0.29,)).text == "30.0 (−1.0)"


def config(method: str, preset: str, *settings: str, **data) -> RunConfig:
    said = {"name": "cifar10", **data}
    return resolve(Request(method, {"ipc": 1, "device": "cpu"}, said, settings, preset))


def test_what_a_run_did_otherwise_is_said():
    assert list(departures(config("dm", "cifar10-ipc1"))) == []
    found = config("dm", "cifar10-ipc1", "updates=40", holdout=0.1)
    assert set(departures(found)) == {"updates 40 for 20000", "holdout 0.1 for 0.0"}
    other = departures(found.model_copy(update={"network": "resnet18"}))
    assert next(other) == "network resnet18 for convnet"


def test_the_recipe_of_apm_and_dc_in_words():
    run = config("apm", "cifar10-ipc50", "lr_student=0.1", "evaluation_epochs=300")
    name, changes = options_of(run.stage("evaluate")).own_protocol
    recipe = PROTOCOLS.load(name).with_recipe(**changes)
    assert in_words(recipe) == "l1, epochs 300, lr 0.1"
    said = [config(name, "cifar10-ipc1").stage("evaluate") for name in ("dc", "dsa")]
    assert [options_of(stage).own_protocol for stage in said] == [("plain", {"epochs": 300}), None]


def test_a_figure_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('source = "me"\n[[published]]\naccuracy = 130.0\n')
    with pytest.raises(DdkitError, match=r"option 'accuracy' of \[\[published\]\] of the preset"):
        figures_in(applied_preset("random", str(path)))
    path.write_text('source = "me"\npublished = 3\n')
    with pytest.raises(DdkitError, match="must be tables: \\[\\[published\\]\\]"):
        applied_preset("random", str(path))

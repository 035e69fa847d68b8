"""What methods say of themselves, read without importing them."""

import json
import sys
from contextlib import nullcontext
from importlib.metadata import EntryPoint, entry_points
from re import escape
from types import SimpleNamespace

import pytest

from ddkit import MethodOptions, option
from ddkit.methods.about import About, about, stands_for
from ddkit.methods.options import by_stage
from ddkit.methods.plugin import ALIASES, METHODS, lookup, options_model
from ddkit.testing.option_promises import OptionPromises

OURS = {entry.name for entry in entry_points(group="ddkit") if entry.dist.name == "ddkit"}
NAMES = sorted(OURS | set(ALIASES.entries()))


@pytest.mark.parametrize("name", NAMES)
def test_each_of_ours_says_what_it_is_in_one_line(name):
    said = about(name)
    assert 20 < len(said.summary) < 90
    assert said.labels
    assert said.paper or name == "random"
    assert said.steps == (options_model(lookup(name)[0]).steps_option or "")
    assert said.cost in (("cheap", "moderate") if said.steps else ("none",))


@pytest.mark.parametrize("name", sorted(ALIASES.entries()))
def test_an_alias_is_known_by_its_package(name):
    assert stands_for(name) == lookup(name)[0]


def test_authors_years_and_venues_are_said():
    assert about("teddy").paper == "Yu et al., ECCV 2024"
    assert about("dm").paper == "Zhao, Bilen, WACV 2023"
    assert about("apm").paper == "Chen et al., 2023, arXiv:2312.08912"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that makes a package, which cannot be imported, a method or an alias."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(text, module="acme_about.methods.own"):
        folder = tmp_path.joinpath(*module.split("."))
        folder.mkdir(parents=True)
        for place in [folder, *folder.parents]:
            if place == tmp_path:
                break
            (place / "__init__.py").write_text("raise RuntimeError('imported')")
        (folder / "about.toml").write_text(text)
        monkeypatch.setitem(METHODS.builtins, "own", EntryPoint("own", module, "ddkit"))

    return make


def test_a_broken_plugin_is_described_all_the_same(package):
    package('[own]\nsummary = "of our own"\ncost = "heavy"')
    assert about("own") == About(summary="of our own", cost="heavy")
    assert "acme_about" not in sys.modules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[other]", ""),
        ("[own", "not known: "),
        ('[own]\ncost = "free"', "not known: option 'cost' of [own] in "),
        ("[own]\ncosts = 1", "not known: unknown option 'costs': did you mean 'cost'?"),
        ("own = 1", "not known: [own] in "),
    ],
)
def test_a_broken_file_is_said_and_takes_nothing_with_it(package, ddkit_methods, text, said):
    package(text)
    assert about("own").summary.startswith(said)
    assert {row["name"] for row in ddkit_methods()} >= {"own", "teddy"}


@pytest.fixture
def ddkit_methods(capsys):
    """Return a function that gives what `ddkit methods --json` prints."""
    from ddkit_cli.commands.methods import methods

    def rows():
        methods.main(["--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return rows


def test_what_nobody_describes_is_listed_all_the_same(monkeypatch, ddkit_methods):
    monkeypatch.setitem(METHODS.builtins, "own", EntryPoint("own", "no_such_module", "ddkit"))
    assert about("own") == About()
    (row,) = [row for row in ddkit_methods() if row["name"] == "own"]
    assert (row["summary"], row["kind"], row["method"]) == ("", "method", None)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ('[own]\nsteps = "rounds"', "steps = 'rounds', but its steps_option is 'images'"),
        ("[own", "not known: "),
        ('[own]\nsteps = "images"', None),
        ("", None),
    ],
)
def test_the_contract_compares_what_is_said_of_steps(package, text, finding):
    package(text)
    model = type("Model", (Options,), {"steps_option": "images", "__annotations__": {}})
    subject = SimpleNamespace(plugin=SimpleNamespace(options_model=lambda: model))
    promised = OptionPromises.test_what_it_says_of_itself_is_so
    with pytest.raises(pytest.fail.Exception, match=escape(finding)) if finding else nullcontext():
        promised(SimpleNamespace(method="own"), subject)


class Options(MethodOptions):
    both: int = option(1, "of two", stages=("synthesis", "pool"))
    images: int = option(1, "of one", stages=("synthesis",))
    everywhere: int = option(1, "of all")
    teachers: int = option(1, "of one", stages=("pool",))
    undeclared: int = 1
    more: int = option(1, "of one", stages=("synthesis",))


def test_options_stand_under_their_stages_in_the_order_of_a_run():
    assert list(by_stage(Options).items()) == [
        ("pool", ["teachers"]),
        ("pool, synthesis", ["both"]),
        ("synthesis", ["images", "more"]),
        ("all stages", ["everywhere", "undeclared"]),
    ]


def test_one_method_is_shown_by_stage_with_what_its_name_stands_for(capsys):
    from ddkit_cli.commands.methods import methods

    methods.main(["dsa"], standalone_mode=False)
    out = capsys.readouterr().out
    assert out.startswith("dsa: DC with differentiable siamese augmentation\n")
    assert "stands for: matching with match=gradient, augmentation=dsa, lr_images=0.1\n" in out
    assert "paper: Zhao, Bilen, ICML 2021\nlabels: hard\n" in out
    assert "steps: updates\n" in out
    assert "default network" not in out  # matching has none of its own
    methods.main(["tesla"], standalone_mode=False)
    heads = [line for line in capsys.readouterr().out.splitlines() if "--set option=" in line]
    stages = [line.split(" (")[0] for line in heads]
    assert stages[0] == "pool"
    assert {"synthesis", "relabel"} <= set(stages)


def test_the_list_shows_steps_costs_and_papers(capsys):
    from ddkit_cli.commands.methods import methods

    methods.main([], standalone_mode=False)
    out = " ".join(capsys.readouterr().out.split())
    assert "alias of matching: DC with differentiable siamese" in out
    assert "rounds" in out
    assert "cost: the synthesis alone, ten images per class of digits on two CPU cores" in out
    assert "none = no steps; cheap = under a minute; moderate = minutes; heavy = hours" in out

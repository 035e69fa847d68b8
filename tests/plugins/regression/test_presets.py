"""Published settings, the authors' recipes, and what runs on digits unasked."""

import pytest
import torch
from ddkit_regression.aliases import FREPO, KIP, RCIG, RFAD

from ddkit.data.split import Split
from ddkit.evaluation.protocols import PROTOCOLS
from ddkit.labels import RegressionTargets
from ddkit.methods.own import own_recipe
from ddkit.methods.plugin import lookup, options_of
from ddkit.methods.presets import find_preset, preset_names
from ddkit.methods.published import departures, figures_in, published
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.rehearse import rehearse
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.cost import read_cost

METHODS = ("frepo", "kip", "rfad", "rcig")
OWN = ("digits", "fashion-mnist-14")
PRESETS = [(method, name) for method in METHODS for name in preset_names(method)]
FIGURES = {  # as PAD and NCFM quote FRePo, and RCIG's own
    ("frepo", "cifar10"): {1: 46.8, 10: 65.5, 50: 71.7},
    ("frepo", "cifar100"): {1: 28.7, 10: 42.5, 50: 44.3},
    ("frepo", "tiny-imagenet"): {1: 15.4, 10: 25.4},
    ("rcig", "cifar10"): {1: 53.9, 10: 69.1, 50: 73.5},
    ("rcig", "cifar100"): {1: 39.3, 10: 44.1, 50: 46.7},
    ("rcig", "tiny-imagenet"): {1: 25.6, 10: 29.4},
}


def configured(method: str, name: str, *settings: str, **common):
    ipc = int(name.rsplit("ipc", 1)[1])
    flags = {"ipc": ipc, "threads": 1, **common}
    return resolve(Request(method, flags, {"name": "digits"}, settings, name))


@pytest.mark.parametrize(("method", "name"), PRESETS)
def test_each_preset_is_of_its_method_and_departs_from_nothing(method, name):
    preset = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)
    config = configured(method, name)
    assert {key: config.options[key] for key in preset["options"]} == preset["options"]
    assert not list(departures(config))
    data, _, ipc = name.partition("-ipc")
    figures = [figure.accuracy for figure in published(config)]
    known = FIGURES.get((method, data), {}).get(int(ipc))
    assert figures == ([] if known is None else [known])
    for figure in figures_in(preset):
        assert (figure.network, figure.protocol) == (config.network, "regression")
    if data in OWN:
        assert preset["source"].startswith("ddkit's own")
        assert "Not published" in preset["notes"]


@pytest.mark.parametrize("method", METHODS)
def test_there_are_settings_for_small_data(method):
    wanted = {f"{data}-ipc{ipc}" for data in OWN for ipc in (1, 10)}
    assert wanted <= set(preset_names(method))


def test_names_differ_in_the_kernel():
    aliases = {"frepo": FREPO, "kip": KIP, "rfad": RFAD, "rcig": RCIG}
    kernels = {name: alias.options["kernel"] for name, alias in aliases.items()}
    assert kernels == {
        "frepo": "features",
        "kip": "tangent-fc",
        "rfad": "random",
        "rcig": "body",
    }


def test_networks_are_evaluated_as_the_authors_do(artifact):
    from ddkit import load

    def recipe(method, *settings):
        config = resolve(Request(method, {"ipc": 1}, {"name": "digits"}, settings, "none"))
        found = own_recipe(options_of(config.stage("evaluate")), {}, load(artifact()))
        assert found.name == "regression"
        return found.recipe

    usual = PROTOCOLS.load("regression").recipe
    assert recipe("frepo") == usual.model_copy(update={"lr": 3e-4})
    assert recipe("rcig") == usual.model_copy(update={"steps": ((10, 1000), (100, 2000))})
    assert (recipe("kip").optimiser, recipe("kip").batch_size) == ("sgd", 100)
    assert recipe("rfad", "evaluate.evaluation_steps=7").steps == ((1, 7),)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_needs_no_flag_on_digits(method, tmp_path, monkeypatch):
    """Its preset is found, and two steps of it are taken on images as small as digits."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)
    made = Split(pixels, torch.arange(40) % 10, tuple("0123456789"))
    monkeypatch.setattr("ddkit.data.sources.load.load", lambda *_, **__: made)
    monkeypatch.setattr("ddkit.data.sources.load", lambda *_, **__: made, raising=False)
    config = resolve(Request(method, {"ipc": 1, "threads": 1}, {"name": "digits"}, ["updates=2"]))
    assert config.preset.startswith("digits-ipc1")
    from ddkit import load

    found = load(pipeline.distill(config, tmp_path / "run"))
    assert isinstance(found.labels, RegressionTargets)
    assert len(found) == 10


@pytest.mark.parametrize("method", METHODS)
def test_peak_memory_is_that_of_the_run(method, tmp_path):
    settings = ["updates=2", "batch_real=64", "networks=2", "flip=false"]  # made-up images flip
    settings += ["inner_steps=2"] if method == "rcig" else []
    flags = {"ipc": 2, "threads": 1, "network": "convnet:depth=2:width=8:norm=none"}
    config = resolve(Request(method, flags, {"name": "digits"}, settings, "none"))
    pipeline.distill(config, tmp_path / "run")
    found = rehearse(config, Data(1437, 10, (1, 8, 8)))
    peak = read_cost(tmp_path / "run")["synthesis_peak_bytes"]
    assert found.peak_bytes == pytest.approx(peak, rel=0.15)
    assert found.pool_bytes == 0

"""Published settings of IDM, NCFM and IDC, their own recipes, and what runs on digits unasked."""

import pytest
import torch

from ddkit import load
from ddkit.data.split import Split
from ddkit.evaluation.accuracy import protocol_for
from ddkit.methods.own import own_recipe
from ddkit.methods.plugin import lookup, options_of
from ddkit.methods.presets import find_preset, preset_names
from ddkit.methods.published import departures, figures_in, published
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.resolve import Request, resolve

NAMES = ("idm", "ncfm", "idc")
PRESETS = [(method, name) for method in NAMES for name in preset_names(method)]
IDM = {  # the command file: data, IPC → w, real images, G, S; and the figure
    ("cifar10", 1): (0.5, 5000, 5, 10, 45.6),
    ("cifar10", 10): (0.5, 256, 30, 10, 58.6),
    ("cifar10", 50): (0.1, 256, 30, 10, 67.5),
    ("cifar100", 1): (0.5, 5000, 5, 10, 20.1),
    ("cifar100", 10): (0.1, 256, 30, 50, 45.1),
    ("cifar100", 50): (0.1, 256, 30, 10, 50.0),
    ("tiny-imagenet", 1): (0.5, 256, 30, 10, 10.1),
    ("tiny-imagenet", 10): (0.5, 256, 30, 10, 21.9),
    ("tiny-imagenet", 50): (0.8, 256, 30, 50, 27.7),
    ("imagenet-100", 10): (3, 128, 50, 10, 17.1),
}
NCFM = {("cifar10", 10): 71.8, ("cifar100", 1): 34.4, ("tiny-imagenet", 50): 29.6}


def configured(method: str, data: str, ipc: int, *settings: str):
    preset = f"{data}-ipc{ipc}"
    return resolve(Request(method, {"ipc": ipc}, {"name": "digits"}, settings, preset))


@pytest.mark.parametrize("row", IDM)
def test_idm_has_what_its_command_file_says(row):
    config = configured("idm", *row)
    names = ("class_weight", "batch_real", "queue_every", "queue_steps")
    assert (*(config.options[name] for name in names), published(config)[0].accuracy) == IDM[row]
    assert config.options["queue"] == (50 if row[0] == "imagenet-100" else 100)


@pytest.mark.parametrize("row", NCFM)
def test_ncfm_has_its_released_configuration(row):
    config = configured("ncfm", *row)
    names = ("frequencies", "members", "updates", "calibration", "phase", "train_epochs")
    assert [config.options[name] for name in names] == [4096, 20, 20_000, 1, 0.5, 60]
    assert published(config)[0].accuracy == NCFM[row]
    classes, std = {"cifar10": (10, 0.25), "cifar100": (100, 0.267)}.get(row[0], (200, 0.276))
    root = ((1 - 0.999 ** (2 * classes)) / 0.001) ** 0.5
    assert config.options["lr_images"] == pytest.approx(1e-3 * root / std, rel=0.03)


@pytest.mark.parametrize(("ipc", "accuracy"), [(1, 50.6), (10, 67.5), (50, 74.5)])
def test_idc_has_a_rate_that_grows_with_the_images(ipc, accuracy):
    config = configured("idc", "cifar10", ipc)
    assert config.options["lr_images"] == pytest.approx(5e-3 * ipc / 10 * 2 / 0.25**2, rel=0.02)
    assert (config.options["distance"], config.options["inner_images"]) == ("mse", 2000)
    assert published(config)[0].accuracy == accuracy


@pytest.mark.parametrize(("method", "name"), PRESETS)
def test_each_preset_is_of_its_method_and_departs_from_nothing(method, name):
    preset = find_preset(method, *lookup(method), tag="", ipc=1, choice=name)
    ipc = int(name.rsplit("ipc", 1)[1])
    config = resolve(Request(method, {"ipc": ipc}, {"name": "digits"}, preset=name))
    assert {key: config.options[key] for key in preset["options"]} == preset["options"]
    assert not list(departures(config))
    if name.startswith(("digits", "fashion-mnist-14")):
        assert preset["source"].startswith("ddkit's own")
        assert "Not published" in preset["notes"]
    else:
        (figure,) = figures_in(preset)
        assert figure.network == config.network
    told = list(departures(config.model_copy(update={"options": {**config.options, "updates": 7}})))
    assert told == [f"updates 7 for {config.options['updates']}"]


def own(method: str, artifact, data: str = "cifar10", ipc: int = 10):
    config = configured(method, data, ipc)
    return own_recipe(options_of(config.stage("evaluate")), {}, load(artifact()))


def test_networks_are_evaluated_as_the_authors_do(artifact):
    cutmix = protocol_for("cutmix")
    assert own("idc", artifact) == cutmix
    assert own("idc", artifact, "mnist").recipe.cutmix == 0
    recipe = cutmix.recipe
    assert (recipe.optimiser, recipe.lr, recipe.momentum, recipe.weight_decay) == (
        "sgd",
        0.01,
        0.9,
        5e-4,
    )
    ncfm = own("ncfm", artifact)
    assert (ncfm.name, ncfm.augmentation) == ("cutmix", "dsa-layered")
    recipe = ncfm.recipe
    assert (recipe.optimiser, recipe.lr, recipe.batch_size, recipe.cutmix) == (
        "adamw",
        1e-3,
        128,
        0.5,
    )
    assert [recipe.factor(epoch) for epoch in (399, 400, 1999)] == [1, 0.5, 0.0625]
    assert own("ncfm", artifact, "tiny-imagenet", 50).recipe.epochs == 40
    assert own("idm", artifact) == protocol_for("dsa")
    assert own("idm", artifact).recipe.batch_size == 256
    assert own("idm", artifact, "imagenet-100").recipe.batch_size == 128


@pytest.mark.parametrize("method", NAMES)
def test_a_method_needs_no_flag_on_digits(method, tmp_path, monkeypatch):
    """Its preset is found, and two steps of it are taken on images as small as digits."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)
    made = Split(pixels, torch.arange(40) % 10, tuple("0123456789"))
    monkeypatch.setattr("ddkit.data.sources.load.load", lambda *_, **__: made)
    config = resolve(Request(method, {"threads": 1}, settings=["updates=2", "train_epochs=1"]))
    assert config.preset.startswith("digits-ipc1 ")
    distilled = load(pipeline.distill(config, tmp_path / "run"))
    assert len(distilled.stored) == 10

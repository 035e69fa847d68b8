"""The presets of FTD and DATM are the tables of paper and code, with the figures they reached."""

import pytest

from ddkit.evaluation.protocols import PROTOCOLS
from ddkit.methods.own import in_words
from ddkit.methods.plugin import options_of
from ddkit.methods.presets import applied_preset, preset_names
from ddkit.methods.published import departures, figures_in
from ddkit.pipeline.resolve import Request, resolve

OWN = ("digits", "fashion-mnist")  # ddkit's own settings, for a CPU

FTD_COLUMNS = (
    "student_steps",
    "expert_epochs",
    "max_start_epoch",
    "batch_syn",
    "lr_images",
    "lr_lr",
    "lr_student",
    "train_surrogate",
    "average",
)
FTD = {  # with the space and the published accuracy at the end
    "cifar10-ipc1": (50, 2, 2, 0, 100, 1e-7, 0.01, 0.3, 0.9999, "zca", 46.8),
    "cifar10-ipc10": (30, 2, 20, 0, 100, 1e-5, 0.001, 0.3, 0.9995, "zca", 66.6),
    "cifar10-ipc50": (30, 2, 40, 0, 1000, 1e-5, 0.01, 1, 0.999, "zca", 73.8),
    "cifar100-ipc1": (40, 3, 20, 0, 1000, 1e-5, 0.01, 1, 0.9995, "zca", 25.2),
    "cifar100-ipc10": (20, 2, 40, 0, 1000, 1e-5, 0.01, 1, 0.9995, "zca", 43.4),
    "cifar100-ipc50": (80, 2, 40, 1000, 1000, 1e-5, 0.01, 1, 0.999, "zca", 50.7),
    "tiny-imagenet-ipc1": (30, 2, 10, 0, 1e4, 1e-4, 0.01, 1, 0.999, "standard", 10.4),
    "tiny-imagenet-ipc10": (20, 2, 40, 500, 1e4, 1e-4, 0.01, 1, 0.999, "standard", 24.5),
}
DATM_COLUMNS = (
    "student_steps",
    "expert_epochs",
    "min_start_epoch",
    "window",
    "window_steps",
    "max_start_epoch",
    "lr_images",
    "lr_labels",
    "lr_lr",
    "batch_syn",
)
DATM = {
    "cifar10-ipc1": (80, 2, 0, 0, 0, 4, 100, 5, 1e-7, 10, 46.9),
    "cifar10-ipc10": (80, 2, 0, 10, 1000, 20, 100, 2, 1e-5, 100, 66.8),
    "cifar10-ipc50": (80, 2, 0, 20, 2000, 40, 1000, 2, 1e-5, 500, 76.1),
    "cifar10-ipc500": (40, 2, 40, 0, 0, 60, 50, 10, 1e-5, 1000, 83.5),
    "cifar10-ipc1000": (100, 2, 40, 0, 0, 60, 50, 10, 1e-5, 1000, 85.5),
    "cifar100-ipc1": (40, 3, 0, 10, 1000, 20, 1000, 10, 1e-5, 1000, 27.9),
    "cifar100-ipc10": (80, 2, 0, 30, 2000, 50, 1000, 10, 1e-5, 1000, 47.2),
    "cifar100-ipc50": (80, 2, 20, 0, 0, 70, 1000, 10, 1e-5, 1000, 55.0),
    "cifar100-ipc100": (80, 2, 30, 0, 0, 70, 50, 10, 1e-5, 1000, 57.5),
    "tiny-imagenet-ipc1": (40, 2, 0, 15, 2000, 20, 1e4, 10, 1e-4, 1000, 17.1),
    "tiny-imagenet-ipc10": (40, 2, 10, 0, 0, 50, 100, 10, 1e-4, 500, 31.1),
    "tiny-imagenet-ipc50": (20, 2, 40, 0, 0, 70, 100, 10, 1e-4, 1000, 39.7),
}


def resolved(method: str, name: str):
    dataset, ipc = name.rsplit("-ipc", 1)
    return resolve(Request(method, {"ipc": int(ipc), "device": "cpu"}, {"name": dataset}))


@pytest.mark.parametrize(("method", "table"), [("ftd", FTD), ("datm", DATM)])
def test_the_presets_are_of_the_sets_of_the_papers_and_digits(method, table):
    names = preset_names(method)
    assert {name for name in names if not name.startswith(OWN)} == table.keys()
    assert len(names) == len(table) + 4


@pytest.mark.parametrize("name", FTD)
def test_a_preset_of_ftd_has_the_values_of_its_column(name):
    config, *_, (*row, space, accuracy) = resolved("ftd", name), FTD[name]
    options = dict(options_of(config.stage("synthesis")))
    assert [options[column] for column in FTD_COLUMNS] == row
    assert (config.network, config.init, config.data.space) == ("convnet", "real", space)
    experts = {"experts": 100, "train_epochs": 50, "train_sharpness": 0.01, "train_lr": 0.01}
    others = {"iterations": 5000, "momentum": 0.5, "labels": "hard", "train_batch": 256}
    assert (experts | others).items() <= options.items()
    assert not list(departures(config))
    (figure,) = figures_in(applied_preset("ftd", config.preset))
    assert (figure.accuracy, figure.protocol) == (accuracy, "dsa")
    assert options_of(config.stage("evaluate")).own_protocol is None


@pytest.mark.parametrize("name", DATM)
def test_a_preset_of_datm_has_the_values_of_its_configuration(name):
    config, *_, (*row, accuracy) = resolved("datm", name), DATM[name]
    options = dict(options_of(config.stage("synthesis")))
    assert [options[column] for column in DATM_COLUMNS] == row
    assert (config.network, config.init, config.data.space) == ("convnet", "real", "zca")
    experts = {"experts": 100, "train_epochs": 100, "train_sharpness": 0.01, "average": 0}
    others = {"iterations": 10_000, "momentum": 0.5, "momentum_labels": 0.9, "lr_student": 0.01}
    assert (experts | others | {"train_surrogate": 0.3}).items() <= options.items()
    assert options["skip_above"] == (1.1 if name == "cifar10-ipc1" else 1.0)
    plain = name == "cifar100-ipc50"
    assert (options["choose"], options["teachers"]) == (("random", 1) if plain else ("correct", 0))
    (figure,) = figures_in(applied_preset("datm", config.preset))
    assert (figure.accuracy, figure.protocol) == (accuracy, "dsa-soft")
    protocol, changes = options_of(config.stage("evaluate")).own_protocol
    assert in_words(PROTOCOLS.load(protocol).with_recipe(**changes)) == "dsa-soft, batch size 128"


def test_what_a_run_did_otherwise_is_said_of_options_at_their_defaults_too():
    request = Request("ftd", {"ipc": 1, "device": "cpu"}, {"name": "cifar10"}, ["average=0"])
    assert list(departures(resolve(request))) == ["average 0.0 for 0.9999"]
    request = Request("mtt", {"ipc": 1, "device": "cpu"}, {"name": "cifar10"}, ["average=0.5"])
    assert list(departures(resolve(request))) == ["average 0.5 for 0.0"]

from pathlib import Path

import pytest
from pydantic import ValidationError

from ddkit.data.options import DataOptions


@pytest.mark.parametrize(
    ("options", "tag"),
    [
        ({}, "digits"),
        ({"name": "CIFAR10"}, "cifar10"),
        ({"name": "some/where/Tiny_ImageNet/"}, "tiny-imagenet"),
        ({"name": "org/Fashion_MNIST"}, "fashion-mnist"),
        ({"name": "cifar10", "resize": 64}, "cifar10-64"),
        ({"name": "cifar10", "classes": "5"}, "cifar10-5classes"),
        ({"name": "cifar10", "classes": "cat,dog", "resize": 16}, "cifar10-16-2classes"),
    ],
)
def test_tag_is_the_normalised_name_with_size_and_class_count(options, tag):
    assert DataOptions(**options).tag == tag


@pytest.mark.parametrize("value", ["cat, dog", ["cat", "dog"], ("cat", "dog")])
def test_classes_come_as_text_or_list(value):
    assert DataOptions(classes=value).classes == ("cat", "dog")


def test_class_numbers_may_be_integers():
    assert DataOptions(classes=10).classes == ("10",)
    assert DataOptions(classes=[3, 5]).classes == ("3", "5")


@pytest.mark.parametrize("value", ["cat,cat", "cat,", ""])
def test_empty_or_repeated_classes_are_refused(value):
    with pytest.raises(ValidationError, match="each class is named once"):
        DataOptions(classes=value)


@pytest.mark.parametrize(
    ("value", "range_"),
    [("0.6", (0.6, 1.0)), (0.6, (0.6, 1.0)), ("0.4:0.9", (0.4, 0.9)), ([0.4, 1.0], (0.4, 1.0))],
)
def test_imbalance_is_a_range_whose_upper_end_defaults_to_one(value, range_):
    assert DataOptions(imbalance=value).imbalance == range_


@pytest.mark.parametrize("value", ["0", "0.9:0.5", "0.5:1.5"])
def test_an_impossible_imbalance_is_refused(value):
    with pytest.raises(ValidationError, match="0 < low <= high <= 1"):
        DataOptions(imbalance=value)


@pytest.mark.parametrize("options", [{"holdout": 1.0}, {"resize": 0}, {"imbalance": "a"}, {"x": 1}])
def test_values_out_of_range_and_unknown_keys_are_refused(options):
    with pytest.raises(ValidationError):
        DataOptions(**options)


def test_options_survive_json():
    options = DataOptions(classes="cat,dog", imbalance="0.4", resize=8)
    assert DataOptions(**options.model_dump(mode="json")) == options


def test_classes_come_from_a_file_and_may_hold_commas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("tench, Tinca tinca", "Ärger", "10")
    Path("names.txt").write_text("\ufeff" + " \r\n".join(names) + "\n\n", "utf-8")
    assert DataOptions(classes="names.txt").classes == names
    assert DataOptions(**DataOptions(classes="names.txt").model_dump(mode="json")).classes == names
    Path("10").write_text("a\nb\n")
    assert DataOptions(classes="10").classes == ("10",)  # a number stays a number
    Path("twice").write_text("a\na\n")
    with pytest.raises(ValidationError, match="each class is named once"):
        DataOptions(classes="twice")


def test_a_file_of_classes_that_is_no_text_is_refused_in_a_line(tmp_path):
    (tmp_path / "names").write_bytes(b"\xff\xfe")
    with pytest.raises(ValidationError, match="names is not a readable text"):
        DataOptions(classes=str(tmp_path / "names"))

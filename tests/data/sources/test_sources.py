import datasets
import pytest
import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.data.sources.load import DATA, load
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.registry import Registry


def test_the_digits_are_divided_class_by_class_without_overlap():
    train, test = (load(DataOptions(), split) for split in ("train", "test"))
    assert (len(train), len(test)) == (1442, 355)
    assert train.shape == (1, 8, 8)
    assert train.images.dtype == torch.uint8
    assert train.images.max() == 255
    assert all(34 <= count <= 37 for count in test.counts)
    assert (train.classes[3], train.mirror) == ("3", False)


def test_the_digits_test_split_is_every_fifth_image_of_each_class():
    from sklearn.datasets import load_digits

    bundle = load_digits()
    fifth = (bundle.target == 3).nonzero()[0][4]
    test = load(DataOptions(), "test")
    threes = test.images[test.labels == 3]
    expected = torch.from_numpy((bundle.images[fifth] * 255 / 16).round()).to(torch.uint8)
    assert torch.equal(threes[0, 0], expected)


def test_all_built_in_sources_import():
    assert all(callable(DATA.load(name)) for name in DATA.builtins)


def test_classes_and_size_are_chosen_for_any_source():
    split = load(DataOptions(classes="7,2", resize=4), "train")
    assert split.classes == ("7", "2")
    assert split.labels.unique().tolist() == [0, 1]
    assert split.shape == (1, 4, 4)


def test_flip_overrides_what_the_source_says(parquet):
    assert load(DataOptions(flip=True), "test").mirror is True
    assert load(DataOptions(name=str(parquet), flip=False), "train").mirror is False


def test_imbalance_concerns_the_training_split_alone():
    options = DataOptions(imbalance="0.2:0.5")
    assert len(load(options, "train")) < 0.55 * 1442
    assert len(load(options, "test")) == 355


def test_imbalance_follows_from_the_seed():
    options = DataOptions(imbalance="0.2")
    prints = [load(options, "train", seed=seed).fingerprint for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_a_training_class_without_images_is_named(tmp_path, table):
    table([1, 2], [0, 2]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=r"class 'dog' .* has no training image.*--classes"):
        load(DataOptions(name=str(tmp_path)), "train")
    assert len(load(DataOptions(name=str(tmp_path), classes="cat,eel"), "train")) == 2


def test_an_unknown_name_gets_the_nearest_and_the_alternatives():
    message = r"unknown data set 'cifr10': did you mean 'cifar10'\? \(or a folder / a Hugging Face"
    with pytest.raises(DdkitError, match=message):
        load(DataOptions(name="cifr10"), "train")


def test_a_missing_path_is_never_taken_for_a_hugging_face_name(monkeypatch):
    monkeypatch.setattr(sources.hub, "read", None)
    for name in ("./gone", "/gone/away", "~/gone-away", "../gone"):
        with pytest.raises(DdkitError, match="does not exist"):
            load(DataOptions(name=name), "train")


def test_a_built_in_name_wins_over_a_folder_of_that_name(parquet, monkeypatch):
    monkeypatch.chdir(parquet.parent)
    parquet.rename("digits")
    assert load(DataOptions(name="digits"), "test").shape == (1, 8, 8)
    assert load(DataOptions(name="./digits"), "test").shape == (3, 4, 4)


def test_an_existing_relative_folder_needs_no_dot(parquet, monkeypatch):
    monkeypatch.chdir(parquet.parent.parent)
    name = f"{parquet.parent.name}/{parquet.name}"  # as a Hugging Face name would look
    assert len(load(DataOptions(name=name), "test")) == 3


def test_a_third_party_source_is_found_by_name(monkeypatch):
    whole = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2, 1]), (*"abc",))
    registry = Registry("data set", "none", {"mine": "ddkit_test_source:mine"})
    monkeypatch.setattr(registry, "load", {"mine": lambda options, split: whole}.__getitem__)
    monkeypatch.setattr(sources, "DATA", registry)
    assert load(DataOptions(name="mine", classes="b,c"), "train").labels.tolist() == [0, 1, 0]


def test_a_hugging_face_name_is_loaded_without_running_its_code(monkeypatch, splits):
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return splits

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    test = load(DataOptions(name="org/pets", classes="eel,cat"), "test")
    assert asked == [(("org/pets",), {})]
    assert test.images[:, 0, 0, 0].tolist() == [100, 102]
    assert test.labels.tolist() == [0, 1]


def test_images_a_hugging_face_set_keeps_as_files_are_read(monkeypatch, tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(5))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    cells = {"image": [{"bytes": None, "path": str(tmp_path / "a.png")}], "label": [0]}
    loaded = datasets.DatasetDict(train=datasets.Dataset.from_dict(cells, features=features))
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded)
    assert load(DataOptions(name="org/pets"), "train").images.unique().tolist() == [5]


def test_a_failed_hugging_face_load_is_one_line_with_the_remedies(monkeypatch):
    def load_dataset(name):
        raise ConnectionError("no route\n  to host")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    message = (
        r"'org/pets' cannot be loaded \(ConnectionError: no route to host\): "
        r"check the name and the network; a local folder works too: --data path"
    )
    with pytest.raises(DdkitError, match=message):
        load(DataOptions(name="org/pets"), "train")
